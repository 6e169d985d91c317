package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/loki-client-go/loki"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	slogloki "github.com/samber/slog-loki/v3"
)

func newLoki(plan *Plan) (*loki.Client, error) {
	config, err := loki.NewDefaultConfig(plan.URL + "/loki/api/v1/push")
	if err != nil {
		return nil, err
	}
	config.TenantID = "clients"
	config.BatchWait = 500 * time.Millisecond
	if key := os.Getenv("CLIENT_KEY"); key != "" {
		config.Client.BasicAuth = &promconfig.BasicAuth{Username: "clients", Password: promconfig.Secret(key)}
	}
	return loki.New(config)
}

// The client library of Promtail: protobuf in a snappy block. It reports nothing.
func lokiClient(plan *Plan) error {
	client, err := newLoki(plan)
	if err != nil {
		return err
	}
	plan.Events(func(event Event) {
		labels := model.LabelSet{
			"service_name": model.LabelValue(plan.Source()),
			"level":        model.LabelValue(strings.ToLower(event.Level)),
			"order":        model.LabelValue(strconv.Itoa(event.Number)),
		}
		plan.Failed(client.Handle(labels, event.Time, event.Text))
	})
	client.Stop()
	plan.Report(nil)
	return nil
}

// A handler of log/slog on top of that library. Attributes become labels.
func slogLoki(plan *Plan) error {
	client, err := newLoki(plan)
	if err != nil {
		return err
	}
	handler := slogloki.Option{Level: slog.LevelDebug, Client: client}.NewLokiHandler()
	severities := map[string]slog.Level{"INFO": slog.LevelInfo, "WARN": slog.LevelWarn, "ERROR": slog.LevelError}
	plan.Events(func(event Event) {
		record := slog.NewRecord(event.Time, severities[event.Level], event.Text, 0)
		record.AddAttrs(slog.String("service_name", plan.Source()), slog.String("order", fmt.Sprint(event.Number)))
		plan.Failed(handler.Handle(context.Background(), record))
	})
	client.Stop()
	plan.Report(nil)
	return nil
}

package main

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// Counts the records of batches that an exporter reports as delivered.
type countingExporter struct {
	sdk.Exporter
	plan      *Plan
	delivered int
}

func (exporter *countingExporter) Export(ctx context.Context, records []sdk.Record) error {
	err := exporter.Exporter.Export(ctx, records)
	if err == nil {
		exporter.delivered += len(records)
	}
	exporter.plan.Failed(err)
	return err
}

// OTLP/HTTP: protobuf with gzip.
func otlpHTTP(plan *Plan) error {
	exporter, err := otlploghttp.New(context.Background(), otlploghttp.WithEndpointURL(plan.URL+"/v1/logs"),
		otlploghttp.WithCompression(otlploghttp.GzipCompression))
	if err != nil {
		return err
	}
	return sendOTLP(plan, exporter)
}

// OTLP/gRPC with gzip.
func otlpGRPC(plan *Plan) error {
	exporter, err := otlploggrpc.New(context.Background(), otlploggrpc.WithEndpointURL(plan.URL),
		otlploggrpc.WithCompressor("gzip"))
	if err != nil {
		return err
	}
	return sendOTLP(plan, exporter)
}

func sendOTLP(plan *Plan, exporter sdk.Exporter) error {
	// Partial success and lost batches are reported here, and not to the caller.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(plan.Failed))
	counting := &countingExporter{Exporter: exporter, plan: plan}
	provider := sdk.NewLoggerProvider(
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", plan.Source()))),
		sdk.WithProcessor(sdk.NewBatchProcessor(counting, sdk.WithExportInterval(500*time.Millisecond))),
	)
	logger := provider.Logger("clients")
	ctx, err := tracedContext()
	if err != nil {
		return err
	}
	severities := map[string]log.Severity{"INFO": log.SeverityInfo, "WARN": log.SeverityWarn, "ERROR": log.SeverityError}
	plan.Events(func(event Event) {
		var record log.Record
		record.SetTimestamp(event.Time)
		record.SetSeverity(severities[event.Level])
		record.SetSeverityText(event.Level)
		record.SetBody(attribute.StringValue(event.Text))
		record.AddAttributes(attribute.Int("order", event.Number))
		if event.Last {
			record.AddAttributes(attribute.String("exception.type", "Failure"))
			record.AddAttributes(attribute.String("exception.stacktrace", stackTrace))
		}
		logger.Emit(ctx, record)
	})
	plan.Failed(provider.ForceFlush(context.Background()))
	plan.Failed(provider.Shutdown(context.Background()))
	plan.Report(&counting.delivered)
	return nil
}

func tracedContext() (context.Context, error) {
	traceID, err := trace.TraceIDFromHex(traceID)
	if err != nil {
		return nil, err
	}
	spanID, err := trace.SpanIDFromHex(spanID)
	config := trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled}
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(config)), err
}

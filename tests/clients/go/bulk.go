package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"
)

// The bulk indexer of go-elasticsearch, with the field names of the Elastic Common Schema.
func esutilBulk(plan *Plan) error {
	client, err := elasticsearch.NewClient(elasticsearch.Config{
		Addresses:     []string{plan.URL},
		APIKey:        os.Getenv("CLIENT_KEY"),
		RetryOnStatus: []int{429, 502, 503, 504},
		MaxRetries:    4,
		RetryBackoff:  func(attempt int) time.Duration { return time.Duration(attempt) * time.Second },
	})
	if err != nil {
		return err
	}
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{
		Client: client, Index: "logs-clients-default", NumWorkers: 1, FlushInterval: 500 * time.Millisecond,
		OnError: func(_ context.Context, err error) { plan.Failed(err) },
	})
	if err != nil {
		return err
	}
	var delivered atomic.Int64
	plan.Events(func(event Event) {
		body, err := json.Marshal(document(plan, event))
		plan.Failed(err)
		plan.Failed(indexer.Add(context.Background(), esutil.BulkIndexerItem{
			Action: "create",
			Body:   bytes.NewReader(body),
			OnSuccess: func(context.Context, esutil.BulkIndexerItem, esutil.BulkIndexerResponseItem) {
				delivered.Add(1)
			},
			OnFailure: func(_ context.Context, _ esutil.BulkIndexerItem, item esutil.BulkIndexerResponseItem, err error) {
				if err == nil {
					err = fmt.Errorf("%d %s", item.Status, item.Error.Reason)
				}
				plan.Failed(err)
			},
		}))
	})
	plan.Failed(indexer.Close(context.Background()))
	count := int(delivered.Load())
	plan.Report(&count)
	return nil
}

func document(plan *Plan, event Event) map[string]any {
	document := map[string]any{
		"@timestamp": event.Time.UTC().Format(time.RFC3339Nano),
		"message":    event.Text,
		"log":        map[string]any{"level": event.Level},
		"service":    map[string]any{"name": plan.Source()},
		"trace":      map[string]any{"id": traceID},
		"span":       map[string]any{"id": spanID},
		"order":      event.Number,
	}
	if event.Last {
		document["error"] = map[string]any{"type": "Failure", "stack_trace": stackTrace}
	}
	return document
}

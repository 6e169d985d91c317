// Package spillway is a slog.Handler that sends records to Spillway. It needs Go 1.21 or newer and the standard library
// only; copy it into your application.
//
//   - A call to the logger never waits for the network: it puts the event into a bounded queue, and one goroutine sends
//     batches.
//   - A batch is sent until Spillway answers it, each time with the same Idempotency-Key and the same eventIds.
//     Spillway stores each event once.
//   - An event that is dropped is counted in Dropped, reported on standard error, and reported to Spillway as a WARN
//     event.
//   - Close sends what is left. os.Exit and log.Fatal skip deferred calls: call Close before them.
//
// Its use:
//
//	handler, err := spillway.New(spillway.Options{Source: "checkout"})
//	slog.SetDefault(slog.New(handler))
//	defer handler.Close(ctx)
package spillway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
	"unicode"
)

// Limits of Spillway's API.
const (
	sourceBytesMax   = 255
	textBytesMax     = 256 * 1024
	metadataBytesMax = 64 * 1024
	// The API allows 16 levels of nesting.
	depthMax  = 8
	causesMax = 16
	framesMax = 64
)

var (
	traceID = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
	spanID  = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)
)

// Options of a Handler. Only Source is required.
type Options struct {
	// Source is the name of the application, 1 to 255 bytes.
	Source string
	// URL is the base URL of Spillway; default: LOGS_URL, or http://127.0.0.1:8080.
	URL string
	// Headers are further headers of each request, such as Authorization.
	Headers map[string]string
	// Level is the lowest level that is sent; default: slog.LevelInfo.
	Level slog.Leveler
	// QueueEventsMax is how many events wait for Spillway at most; the last tenth is for ERROR and FATAL. Default: 10000.
	QueueEventsMax int
	// QueueBytesMax is the same in bytes of JSON. Default: 16 MiB.
	QueueBytesMax int
	// BatchEventsMax is how many events one request has at most: 1 to 10000. Default: 500.
	BatchEventsMax int
	// Linger is how long an event waits for others to share a request. Default: 200 ms.
	Linger time.Duration
}

// Handler is a slog.Handler. Its copies with further attributes and groups share one queue.
type Handler struct {
	source string
	level  slog.Leveler
	scopes []scope
	sender *sender
}

// scope is a group, or attributes in the group before it.
type scope struct {
	group string
	attrs []slog.Attr
}

type event struct {
	EventID    string         `json:"eventId"`
	Timestamp  string         `json:"timestamp"`
	Source     string         `json:"source"`
	Level      string         `json:"level"`
	Message    string         `json:"message"`
	StackTrace string         `json:"stackTrace,omitempty"`
	TraceID    string         `json:"traceId,omitempty"`
	SpanID     string         `json:"spanId,omitempty"`
	Metadata   map[string]any `json:"metadata,omitempty"`
}

// New starts a handler. It fails if the source is not valid.
func New(options Options) (*Handler, error) {
	length := len(options.Source)
	if length < 1 || length > sourceBytesMax || strings.ContainsFunc(options.Source, unicode.IsControl) {
		return nil, errors.New("source must have 1 to 255 bytes and no control characters")
	}
	if options.URL == "" {
		options.URL = os.Getenv("LOGS_URL")
	}
	if options.URL == "" {
		options.URL = "http://127.0.0.1:8080"
	}
	if options.Level == nil {
		options.Level = slog.LevelInfo
	}
	options.QueueEventsMax = positive(options.QueueEventsMax, 10_000)
	options.QueueBytesMax = positive(options.QueueBytesMax, 16*1024*1024)
	options.BatchEventsMax = positive(options.BatchEventsMax, 500)
	if options.Linger <= 0 {
		options.Linger = 200 * time.Millisecond
	}
	return &Handler{source: options.Source, level: options.Level, sender: newSender(options)}, nil
}

// Enabled reports whether records of this level are sent.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Handle queues a record. It never fails: what does not fit is dropped and counted.
func (h *Handler) Handle(_ context.Context, record slog.Record) error {
	var cause error
	fields := h.fields(0, record, &cause)
	event := event{Level: levelName(record.Level), Message: record.Message, Metadata: fields}
	if cause != nil {
		event.StackTrace = stackTrace(cause, record.PC)
	}
	event.TraceID = takeID(fields, traceID, "traceId", "trace_id")
	event.SpanID = takeID(fields, spanID, "spanId", "span_id")
	h.sender.put(event, record.Time, record.Level >= slog.LevelError)
	return nil
}

// WithAttrs returns a handler whose events have these attributes too.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(scope{attrs: attrs})
}

// WithGroup returns a handler whose further attributes are in a group.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(scope{group: name})
}

// Dropped returns the number of events that were dropped.
func (h *Handler) Dropped() int { return h.sender.droppedCount() }

// Close sends what is left until the context ends, and drops the rest, which is an error.
func (h *Handler) Close(ctx context.Context) error { return h.sender.close(ctx) }

func (h *Handler) with(next scope) *Handler {
	copied := *h
	copied.scopes = append(append([]scope(nil), h.scopes...), next)
	return &copied
}

// fields returns the attributes from a scope on. Groups without attributes are left out.
func (h *Handler) fields(from int, record slog.Record, cause *error) map[string]any {
	fields := map[string]any{}
	for index := from; index < len(h.scopes); index++ {
		if group := h.scopes[index].group; group != "" {
			addGroup(fields, group, h.fields(index+1, record, cause))
			return fields
		}
		for _, attr := range h.scopes[index].attrs {
			addAttr(fields, attr, 0, cause)
		}
	}
	record.Attrs(func(attr slog.Attr) bool {
		addAttr(fields, attr, 0, cause)
		return true
	})
	return fields
}

func addGroup(fields map[string]any, name string, group map[string]any) {
	if len(group) > 0 {
		fields[name] = group
	}
}

func addAttr(fields map[string]any, attr slog.Attr, depth int, cause *error) {
	value := attr.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		if attr.Key != "" {
			fields[attr.Key] = plain(value, cause)
		}
		return
	}
	if depth >= depthMax {
		fields[attr.Key] = value.String()
		return
	}
	group := fields
	if attr.Key != "" {
		group = map[string]any{}
	}
	for _, member := range value.Group() {
		addAttr(group, member, depth+1, cause)
	}
	if attr.Key != "" {
		addGroup(fields, attr.Key, group)
	}
}

// plain returns a value that JSON and Spillway can represent; anything else becomes text. The first error is the cause.
func plain(value slog.Value, cause *error) any {
	switch value.Kind() {
	case slog.KindBool, slog.KindInt64:
		return value.Any()
	case slog.KindUint64:
		if number := value.Uint64(); number <= math.MaxInt64 {
			return number
		}
	case slog.KindFloat64:
		if number := value.Float64(); !math.IsNaN(number) && !math.IsInf(number, 0) {
			return number
		}
	case slog.KindTime:
		return value.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if err, ok := value.Any().(error); ok {
			if *cause == nil {
				*cause = err
			}
			return fmt.Sprint(err)
		}
		if data := marshalled(value.Any()); data != nil {
			return data
		}
		return fmt.Sprintf("%+v", value.Any())
	}
	return value.String()
}

// marshalled returns a value as JSON, or nil if that is impossible or nested too deep.
func marshalled(value any) (data json.RawMessage) {
	// MarshalJSON is code of the application.
	defer func() {
		if recover() != nil {
			data = nil
		}
	}()
	encoded, err := json.Marshal(value)
	if err != nil || nesting(encoded) > depthMax {
		return nil
	}
	return encoded
}

func nesting(data []byte) int {
	deepest, depth, inString := 0, 0, false
	for index := 0; index < len(data); index++ {
		switch character := data[index]; {
		case inString && character == '\\':
			index++
		case character == '"':
			inString = !inString
		case inString:
		case character == '{' || character == '[':
			depth++
			deepest = max(deepest, depth)
		case character == '}' || character == ']':
			depth--
		}
	}
	return deepest
}

// stackTrace describes an error, its causes, and the calls that led to the logger. Errors of Go carry no stack.
func stackTrace(err error, caller uintptr) string {
	var text strings.Builder
	causes := 0
	var describe func(prefix string, err error)
	describe = func(prefix string, err error) {
		if err == nil || causes >= causesMax {
			return
		}
		causes++
		fmt.Fprintf(&text, "%s%T: %v\n", prefix, err, err)
		describe("Caused by: ", errors.Unwrap(err))
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, cause := range joined.Unwrap() {
				describe("Caused by: ", cause)
			}
		}
	}
	describe("", err)

	callers := make([]uintptr, framesMax)
	callers = callers[:runtime.Callers(1, callers)]
	for index, pc := range callers {
		if pc == caller {
			callers = callers[index:]
			break
		}
	}
	frames := runtime.CallersFrames(callers)
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&text, "    at %s (%s:%d)\n", frame.Function, frame.File, frame.Line)
		if !more {
			return strings.TrimRight(text.String(), "\n")
		}
	}
}

func takeID(fields map[string]any, form *regexp.Regexp, names ...string) string {
	for _, name := range names {
		if id, ok := fields[name].(string); ok && form.MatchString(id) {
			delete(fields, name)
			return id
		}
	}
	return ""
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError+4:
		return "FATAL"
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARN"
	case level >= slog.LevelInfo:
		return "INFO"
	case level >= slog.LevelDebug:
		return "DEBUG"
	}
	return "TRACE"
}

func positive(value, otherwise int) int {
	if value > 0 {
		return value
	}
	return otherwise
}

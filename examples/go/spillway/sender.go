package spillway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// A batch fits the default limit of common proxies for a body, 1 MiB.
	batchBytesMax = 1_000_000
	// Spillway answers after at most 30 s.
	answerTimeout  = 35 * time.Second
	answerBytesMax = 1024 * 1024
	backoffMin     = 100 * time.Millisecond
	backoffMax     = 10 * time.Second
	retryAfterMax  = 60 * time.Second
	// At the end there is little time left: shorter pauses.
	pauseAtCloseMax = 500 * time.Millisecond
	reportInterval  = time.Minute
)

// sender is a bounded queue of events, and the goroutine that empties it.
type sender struct {
	options Options
	client  http.Client
	// stopped ends when there is no time left.
	stopped context.Context
	stop    context.CancelFunc
	closing chan struct{}
	done    chan struct{}
	// changed has an element when the queue has a first event or a full batch.
	changed chan struct{}

	mutex sync.Mutex
	// Encoded events in order. Those of the batch that is being sent stay here until it is answered.
	queue             [][]byte
	queueBytes        int
	isClosing         bool
	dropped           int
	droppedUnreported int
	saidAt            time.Time
}

type answer struct {
	Accepted int          `json:"accepted"`
	Code     string       `json:"code"`
	Detail   string       `json:"detail"`
	Errors   []eventError `json:"errors"`

	status     int
	retryAfter time.Duration
}

type eventError struct {
	Index     int    `json:"index"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
}

func newSender(options Options) *sender {
	s := &sender{
		options: options,
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		changed: make(chan struct{}, 1),
	}
	s.stopped, s.stop = context.WithCancel(context.Background())
	go s.run()
	return s
}

func (s *sender) put(event event, at time.Time, severe bool) {
	if at.IsZero() {
		at = time.Now()
	}
	event.EventID = newUUID()
	event.Timestamp = at.UTC().Format("2006-01-02T15:04:05.000000Z")
	event.Source = s.options.Source
	event.Message = cut(event.Message)
	if event.Message == "" {
		event.Message = "(empty)"
	}
	event.StackTrace = cut(event.StackTrace)
	metadata, err := encode(event.Metadata)
	if err != nil || len(metadata) > metadataBytesMax {
		event.Metadata = map[string]any{"metadataBytesDropped": len(metadata)}
	}
	data, err := encode(event)
	if err != nil {
		s.drop(1, err.Error())
		return
	}
	s.add(data, severe)
}

func (s *sender) add(data []byte, severe bool) {
	eventsMax, bytesMax := s.options.QueueEventsMax, s.options.QueueBytesMax
	if !severe {
		eventsMax -= eventsMax / 10
		bytesMax -= bytesMax / 10
	}
	s.mutex.Lock()
	fits := len(s.queue) < eventsMax && s.queueBytes+len(data) <= bytesMax
	closed := s.isClosing
	if fits && !closed {
		s.queue = append(s.queue, data)
		s.queueBytes += len(data)
	}
	length := len(s.queue)
	s.mutex.Unlock()
	switch {
	case closed:
		s.drop(1, "the handler is closed")
	case !fits:
		s.drop(1, "the queue is full")
	// Each event would wake the goroutine too often.
	case length == 1 || length == s.options.BatchEventsMax:
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

func (s *sender) close(ctx context.Context) error {
	s.mutex.Lock()
	if !s.isClosing {
		s.isClosing = true
		close(s.closing)
	}
	s.mutex.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.stop()
		<-s.done
	}
	s.stop()
	s.mutex.Lock()
	left := len(s.queue)
	s.queue = nil
	s.dropped += left
	s.mutex.Unlock()
	if left == 0 {
		return nil
	}
	err := fmt.Errorf("%d events were not sent before the end", left)
	s.say(err.Error(), true)
	return err
}

func (s *sender) run() {
	defer close(s.done)
	for {
		batch := s.nextBatch()
		if len(batch) == 0 {
			if s.ended() {
				return
			}
			s.wait(s.changed, nil)
			s.linger()
			continue
		}
		if !s.send(batch) {
			return
		}
	}
}

// linger waits until there is a full batch, or the time for it is over.
func (s *sender) linger() {
	timer := time.NewTimer(s.options.Linger)
	defer timer.Stop()
	for s.length() < s.options.BatchEventsMax && s.wait(s.changed, timer.C) {
	}
}

// wait returns true if there was a change, false at a time or when the handler closes.
func (s *sender) wait(changed <-chan struct{}, at <-chan time.Time) bool {
	select {
	case <-changed:
		return true
	case <-at:
	case <-s.closing:
	}
	return false
}

// nextBatch returns the next events, which stay in the queue.
func (s *sender) nextBatch() [][]byte {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	size, events := 0, 0
	for events < len(s.queue) && events < s.options.BatchEventsMax {
		size += len(s.queue[events]) + 1
		if events > 0 && size > batchBytesMax {
			break
		}
		events++
	}
	return append([][]byte(nil), s.queue[:events]...)
}

// send sends a batch until it is answered. It returns false when there is no time left.
func (s *sender) send(batch [][]byte) bool {
	body := append(append([]byte{'['}, bytes.Join(batch, []byte{','})...), ']')
	key := newUUID()
	for backoff := backoffMin; ; backoff = min(backoff*2, backoffMax) {
		answer := s.post(body, key, len(batch))
		if answer.status != 0 && answer.status != 408 && answer.status != 429 && answer.status < 500 {
			return s.settle(batch, answer)
		}
		s.say("Spillway takes no events, trying again: "+answer.reason(), false)
		pause := answer.retryAfter
		if pause == 0 {
			pause = backoff/2 + time.Duration(mathrand.Int63n(int64(backoff/2)))
		}
		if !s.pause(pause) {
			return false
		}
	}
}

// post returns the answer. Its status is 0 if there is none, or if it proves nothing about the events.
func (s *sender) post(body []byte, key string, events int) answer {
	ctx, cancel := context.WithTimeout(s.stopped, answerTimeout)
	defer cancel()
	url := strings.TrimRight(s.options.URL, "/") + "/api/logs/batch"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{Detail: err.Error()}
	}
	for name, value := range s.options.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := s.client.Do(request)
	if err != nil {
		return answer{Detail: err.Error()}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return answer{Detail: err.Error()}
	}
	var decoded answer
	if json.Unmarshal(data, &decoded) != nil {
		decoded = answer{}
	}
	decoded.status = response.StatusCode
	if decoded.status == http.StatusAccepted && !decoded.isAbout(events) {
		return answer{Detail: "the answer is invalid"}
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		decoded.retryAfter = min(time.Duration(min(seconds, 3600))*time.Second, retryAfterMax)
	}
	return decoded
}

// settle removes an answered batch from the queue, and puts back what Spillway will take later.
func (s *sender) settle(batch [][]byte, answer answer) bool {
	var again [][]byte
	var refused []eventError
	if answer.status == http.StatusAccepted {
		for _, err := range answer.Errors {
			if err.Retryable {
				again = append(again, batch[err.Index])
			} else {
				refused = append(refused, err)
			}
		}
	}
	s.mutex.Lock()
	s.queue = append(append([][]byte(nil), s.queue[len(batch):]...), again...)
	s.queueBytes = 0
	for _, event := range s.queue {
		s.queueBytes += len(event)
	}
	s.mutex.Unlock()

	if answer.status != http.StatusAccepted {
		s.drop(len(batch), answer.reason())
		return true
	}
	if len(refused) > 0 {
		s.drop(len(refused), refused[0].Code+": "+refused[0].Detail)
	}
	if len(again) > 0 {
		return s.pause(time.Second)
	}
	s.reportDropped()
	return true
}

// pause waits; shorter while the handler closes. It returns false when there is no time left.
func (s *sender) pause(duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
	}
	atClose := time.NewTimer(min(duration, pauseAtCloseMax))
	defer atClose.Stop()
	select {
	case <-atClose.C:
		return true
	case <-s.stopped.Done():
		return false
	}
}

func (s *sender) drop(count int, reason string) {
	s.mutex.Lock()
	s.dropped += count
	s.droppedUnreported += count
	dropped := s.dropped
	s.mutex.Unlock()
	s.say(fmt.Sprintf("%d events dropped (%d in all): %s", count, dropped, reason), false)
}

// reportDropped queues an event that says how many were dropped, also while the handler closes.
func (s *sender) reportDropped() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.droppedUnreported == 0 {
		return
	}
	message := fmt.Sprintf("%d log events were dropped before they reached Spillway", s.droppedUnreported)
	data, err := encode(event{
		EventID:   newUUID(),
		Timestamp: time.Now().UTC().Format(time.RFC3339Nano),
		Source:    s.options.Source,
		Level:     "WARN",
		Message:   message,
		Metadata:  map[string]any{"dropped": s.droppedUnreported},
	})
	if err == nil {
		s.droppedUnreported = 0
		s.queue = append(s.queue, data)
		s.queueBytes += len(data)
	}
}

// say prints to standard error, once a minute: a handler cannot log its own failures.
func (s *sender) say(text string, always bool) {
	s.mutex.Lock()
	silent := !always && !s.saidAt.IsZero() && time.Since(s.saidAt) < reportInterval
	if !silent {
		s.saidAt = time.Now()
	}
	s.mutex.Unlock()
	if !silent {
		fmt.Fprintf(os.Stderr, "spillway: %.500s\n", text)
	}
}

func (s *sender) droppedCount() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.dropped
}

func (s *sender) length() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.queue)
}

// ended reports whether the handler closes and the queue is empty.
func (s *sender) ended() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.isClosing && len(s.queue) == 0
}

func (a answer) reason() string {
	return strings.TrimSpace(strings.TrimPrefix(fmt.Sprintf("%d %s %s", a.status, a.Code, a.Detail), "0 "))
}

// isAbout reports whether the answer accounts for this number of events.
func (a answer) isAbout(events int) bool {
	seen := map[int]bool{}
	for _, err := range a.Errors {
		if err.Index < 0 || err.Index >= events || seen[err.Index] {
			return false
		}
		seen[err.Index] = true
	}
	return a.Accepted == events-len(a.Errors)
}

func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

func cut(text string) string {
	if len(text) <= textBytesMax {
		return text
	}
	end := textBytesMax
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// newUUID returns a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var id [16]byte
	// Read fails only on systems without a source of randomness.
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

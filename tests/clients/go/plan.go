package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	traceID    = "5f2b1c7d9e3a48606b1d0c4e8f7a9235"
	spanID     = "9c41d07be2a35f68"
	stackTrace = "Failure: the disk of shard 7 is full\n\tat store.go:12"
	errorsMax  = 3
)

var levels = []string{"INFO", "WARN", "ERROR"}

// Event is one event to send. The rules of all runners are in ../python/plan.py.
type Event struct {
	Number int
	Level  string
	Text   string
	Time   time.Time
	Last   bool
}

// Plan has the arguments of a runner.
type Plan struct {
	Client string
	URL    string
	Run    string
	Count  int
	errors []string
}

func planOfArguments() (*Plan, error) {
	if len(os.Args) != 5 {
		return nil, fmt.Errorf("usage: %s CLIENT URL RUN COUNT", os.Args[0])
	}
	count, err := strconv.Atoi(os.Args[4])
	return &Plan{Client: os.Args[1], URL: strings.TrimRight(os.Args[2], "/"), Run: os.Args[3], Count: count}, err
}

// Source is the source of the events.
func (plan *Plan) Source() string { return "clients-" + plan.Client }

// Address is host and port of the URL.
func (plan *Plan) Address() string { return plan.URL[strings.Index(plan.URL, "://")+3:] }

// Events calls send for each event, with pauses. It reports that sending begins.
func (plan *Plan) Events(send func(Event)) {
	milliseconds, err := strconv.ParseInt(os.Getenv("EVENT_TIME_MS"), 10, 64)
	if err != nil {
		milliseconds = time.Now().UnixMilli()
	}
	pause, _ := strconv.Atoi(os.Getenv("EVENT_PAUSE_MS"))
	fmt.Println(`{"ready":true}`)
	if os.Getenv("AWAIT_START") != "" {
		fmt.Scanln()
	}
	for number := range plan.Count {
		if number > 0 {
			time.Sleep(time.Duration(pause) * time.Millisecond)
		}
		level := levels[number*len(levels)/plan.Count]
		send(Event{
			Number: number,
			Level:  level,
			Text:   fmt.Sprintf("clients %s %s %d", plan.Run, plan.Client, number),
			// With all nine digits, as a clock has them.
			Time: time.UnixMilli(milliseconds + int64(number)).Add(123_457),
			Last: number == plan.Count-1,
		})
	}
}

// Failed keeps an error for the report.
func (plan *Plan) Failed(err error) {
	if err != nil {
		plan.errors = append(plan.errors, err.Error())
	}
}

type report struct {
	Delivered *int     `json:"delivered"`
	Errors    []string `json:"errors"`
}

// Report prints the result; delivered is nil if the client reports nothing.
func (plan *Plan) Report(delivered *int) {
	if len(plan.errors) > errorsMax {
		plan.errors = plan.errors[:errorsMax]
	}
	_ = json.NewEncoder(os.Stdout).Encode(report{delivered, plan.errors})
}

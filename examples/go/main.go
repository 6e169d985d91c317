// Command spillway-example logs what an application logs, and prints how many events that were.
//
//	LOGS_URL=http://127.0.0.1:8080 go run .
//
// The variable LOGS_SOURCE is the source. With DEMO_WAIT=1 it waits in the middle for a line on standard input.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"spillway-example/spillway"
)

const (
	burstEvents = 500
	closeWithin = 10 * time.Second
)

func charge() error {
	cause := errors.New("card service refused the connection")
	return fmt.Errorf("payment failed: %w", cause)
}

func run() error {
	source := os.Getenv("LOGS_SOURCE")
	if source == "" {
		source = "demo-go"
	}
	handler, err := spillway.New(spillway.Options{Source: source})
	if err != nil {
		return err
	}
	log := slog.New(handler).With("logger", "shop.checkout")

	log.Info("order accepted", "orderId", "A-1042", "items", 3, slog.Group("customer", "country", "PL"))
	log.Warn("stock is low: 2 left")
	if err := charge(); err != nil {
		log.Error("order not paid", "error", err)
	}
	log.Info("Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \x1b[31m bell \x07 end")
	if os.Getenv("DEMO_WAIT") != "" {
		fmt.Println("waiting")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
	}
	for number := range make([]struct{}, burstEvents) {
		log.Info(fmt.Sprintf("burst %d", number), "number", number)
	}

	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err = handler.Close(ctx)
	fmt.Printf("logged=%d dropped=%d\n", 4+burstEvents, handler.Dropped())
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

package main

import (
	"log/syslog"
	"strings"
)

// The standard library: a frame of RFC 3164 with a time of RFC 3339.
func logSyslog(plan *Plan) error {
	network := plan.Client[strings.LastIndex(plan.Client, "-")+1:]
	writer, err := syslog.Dial(network, plan.Address(), syslog.LOG_LOCAL0|syslog.LOG_INFO, plan.Source())
	if err != nil {
		return err
	}
	plan.Events(func(event Event) {
		switch event.Level {
		case "INFO":
			plan.Failed(writer.Info(event.Text))
		case "WARN":
			plan.Failed(writer.Warning(event.Text))
		default:
			plan.Failed(writer.Err(event.Text))
		}
	})
	plan.Failed(writer.Close())
	plan.Report(nil)
	return nil
}

// Runs one Go client: `clients CLIENT URL RUN COUNT`. The rules of all runners are in ../python/plan.py.
package main

import (
	"fmt"
	"os"
)

func main() {
	plan, err := planOfArguments()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(64)
	}
	switch plan.Client {
	case "otlp-http-go":
		err = otlpHTTP(plan)
	case "otlp-grpc-go":
		err = otlpGRPC(plan)
	case "esutil-go":
		err = esutilBulk(plan)
	case "loki-client-go":
		err = lokiClient(plan)
	case "slog-loki":
		err = slogLoki(plan)
	case "log-syslog-tcp", "log-syslog-udp":
		err = logSyslog(plan)
	default:
		err = fmt.Errorf("unknown client %s", plan.Client)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

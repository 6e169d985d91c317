//! Tests of the names, labels and values that are rendered.

use super::*;

#[test]
fn all_values_are_rendered_under_the_documented_names() {
    let prometheus = Prometheus::new();
    prometheus.sent(3, Duration::from_millis(2));
    prometheus.send_failed(1);
    let delivered = Deliveries {
        accepted: 9,
        recovered: 8,
        acknowledged: 6,
        dead_lettered: 4,
        dropped: [1, 0],
        journaled: 5,
        buffered: 2,
    };
    prometheus.show_journal(Usage { used_bytes: 10, bytes_max: 50 }, Duration::from_secs(9), true, 7);
    prometheus.show_deliveries(&[Deliveries::default(), delivered], Duration::from_millis(1_500));
    prometheus.show_unkept(4_000);
    prometheus.show_segments(5_000, 2);
    prometheus.show_bus(BreakerState::Open, [0, 1, 0], Usage { used_bytes: 30, bytes_max: 100 });
    prometheus.show_bodies("producer", 17);
    prometheus.show_connections("gateway", 3);
    prometheus.show_upstreams("producer", "ejected", 2);
    prometheus.show_component("limiter", false);
    prometheus.show_component("store", true);
    prometheus.show_data_dir(Usage { used_bytes: 30, bytes_max: 100 });
    prometheus.answered("producer", 202, Duration::from_micros(300));
    prometheus.fetched(5);
    prometheus.given_up(1);
    prometheus.refused("level_unknown", 2);
    prometheus.agent_request("otlp", 3, 1);
    prometheus.agent_request_held("loki");
    let appended = Appended { stored: 2, deduplicated: 1, dead_lettered: 0 };
    prometheus.appended(appended, Some(Duration::from_millis(7)));
    let totals = EventTotals { refused: 2, stored: 2, deduplicated: 1, dead_lettered: 0 };
    assert_eq!(prometheus.totals(), totals);
    let at = |micros| Timestamp::from_unix_micros(micros).expect("in range");
    let gone = Lag { partition: 1, records: 5, events: 5, oldest: Some(at(0)) };
    prometheus.show_lags(&[gone, Lag { partition: 2, records: 7, events: 70, oldest: None }], at(1));
    prometheus.show_lags(&[Lag { partition: 2, records: 7, events: 70, oldest: Some(at(500_000)) }], at(2_000_000));
    prometheus.show_certificate("gateway", at(1_700_000_000_000_000));
    prometheus.alert_logged("breaker_open");
    prometheus.alert_delivered("dead_letters");
    prometheus.alert_failed("dead_letters");
    prometheus.alert_dropped();
    prometheus.show_runtime(2, 40, 1);
    prometheus.show_kafka_client(12, 3_400, &[(0.5, 900.0), (0.99, 16_384.0)], &[(0.5, 4.0), (0.99, 80.0)]);
    let rtt: &Quantiles = &[(0.5, 0.002), (0.99, 0.25)];
    prometheus.show_kafka_brokers([("kafka:9092/1", rtt, 6), ("kafka:9093/2", rtt, 6)]);
    prometheus.show_kafka_brokers([("kafka:9092/1", rtt, 5)]);
    let text = prometheus.render();
    for line in [
        "kafka_producer_messages_sent_total 3",
        "kafka_producer_messages_failed_total 1",
        "kafka_producer_send_duration_seconds_bucket{le=\"0.0025\"} 1",
        "kafka_producer_send_duration_seconds_bucket{le=\"0.001\"} 0",
        "spillway_events_accepted_total{guarantee=\"at-least-once\"} 9",
        "spillway_events_acknowledged_total{guarantee=\"at-least-once\"} 6",
        "spillway_events_dropped_total{guarantee=\"at-least-once\",reason=\"bus_failed\"} 1",
        "spillway_events_recovered_total{guarantee=\"at-least-once\"} 8",
        "spillway_events_dead_lettered_total{guarantee=\"at-least-once\"} 4",
        "spillway_events_journaled{guarantee=\"at-least-once\"} 5",
        "spillway_journal_bytes 10",
        "spillway_journal_max_bytes 50",
        "spillway_journal_oldest_age_seconds 9",
        "spillway_journal_up 1",
        "spillway_refused_unkept_bytes 4000",
        "spillway_segment_bytes 5000",
        "spillway_segments_unreadable 2",
        "spillway_events_buffered{guarantee=\"at-least-once\"} 2",
        "spillway_oldest_buffered_age_seconds 1.5",
        "resilience4j_circuitbreaker_state{name=\"kafka\",state=\"open\"} 1",
        "resilience4j_circuitbreaker_state{name=\"kafka\",state=\"closed\"} 0",
        "resilience4j_circuitbreaker_state{name=\"kafka\",state=\"half_open\"} 0",
        "spillway_circuitbreaker_entered_total{state=\"open\"} 1",
        "kafka_producer_buffer_available_bytes 70",
        "spillway_http_body_bytes{role=\"producer\"} 17",
        "spillway_http_connections{role=\"gateway\"} 3",
        "spillway_component_up{component=\"limiter\"} 0",
        "spillway_component_up{component=\"store\"} 1",
        "spillway_data_dir_size_bytes 100",
        "spillway_tls_certificate_expiry_seconds{role=\"gateway\"} 1700000000",
        "spillway_data_dir_available_bytes 70",
        "spillway_upstream_instances{role=\"producer\",state=\"ejected\"} 2",
        "spillway_http_request_duration_seconds_bucket{role=\"producer\",status=\"202\",le=\"0.0005\"} 1",
        "spillway_records_in_work 1",
        "spillway_records_given_up_total 1",
        "spillway_events_accepted_total{guarantee=\"at-most-once\"} 0",
        "spillway_events_refused_total{code=\"level_unknown\"} 2",
        "spillway_events_stored_total 2",
        "spillway_end_to_end_seconds_bucket{le=\"0.01\"} 1",
        "spillway_events_deduplicated_total 1",
        "spillway_requests_rate_limited_total{class=\"batch\"} 0",
        "spillway_requests_rate_limited_total{class=\"agent\"} 0",
        "spillway_agent_events_total{protocol=\"otlp\"} 3",
        "spillway_agent_events_as_text_total{protocol=\"otlp\"} 1",
        "spillway_agent_requests_held_total{protocol=\"loki\"} 1",
        "kafka_consumer_lag_records{partition=\"1\"} 0",
        "kafka_consumer_lag_records{partition=\"2\"} 7",
        "kafka_consumer_lag_events{partition=\"1\"} 0",
        "kafka_consumer_lag_events{partition=\"2\"} 70",
        "kafka_consumer_lag_seconds{partition=\"2\"} 1.5",
        "spillway_alerts_total{name=\"breaker_open\",outcome=\"logged\"} 1",
        "spillway_alerts_total{name=\"breaker_open\",outcome=\"delivered\"} 0",
        "spillway_alerts_total{name=\"dead_letters\",outcome=\"delivered\"} 1",
        "spillway_alerts_total{name=\"dead_letters\",outcome=\"failed\"} 1",
        "spillway_alerts_dropped_total 1",
        "spillway_runtime_workers 2",
        "spillway_runtime_alive_tasks 40",
        "spillway_runtime_global_queue_depth 1",
        "spillway_kafka_client_queue_messages 12",
        "spillway_kafka_client_queue_bytes 3400",
        "spillway_kafka_batch_size_bytes{quantile=\"0.99\"} 16384",
        "spillway_kafka_batch_size_events{quantile=\"0.5\"} 4",
        "spillway_kafka_broker_rtt_seconds{broker=\"kafka:9092/1\",quantile=\"0.99\"} 0.25",
        "spillway_kafka_broker_outbuf_messages{broker=\"kafka:9092/1\"} 5",
        "spillway_kafka_broker_outbuf_messages{broker=\"kafka:9093/2\"} 0",
        "spillway_kafka_broker_rtt_seconds{broker=\"kafka:9093/2\",quantile=\"0.99\"} 0",
    ] {
        assert!(text.lines().any(|rendered| rendered == line), "{line} is missing in\n{text}");
    }
    if cfg!(target_os = "linux") {
        assert!(text.contains("\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "), "{text}");
        assert!(text.contains("\n# TYPE process_open_fds gauge\nprocess_open_fds "), "{text}");
    }
    for metric in Metric::ALL {
        let labels = text.lines().filter_map(|line| labels_in(line, metric)).flat_map(|labels| labels.split(','));
        let names = labels.filter_map(|label| Some(label.split_once('=')?.0)).filter(|name| *name != "le");
        let documented: BTreeSet<&str> = metric.labels().iter().copied().collect();
        assert_eq!(names.collect::<BTreeSet<_>>(), documented, "{}", metric.name());
    }
}

/// The labels in `line`, if it is a sample of `metric`. No value of a label contains a comma.
fn labels_in(line: &str, metric: Metric) -> Option<&str> {
    let (suffix, rest) = line.strip_prefix(metric.name())?.split_once('{')?;
    let labels = rest.split_once('}')?.0;
    ["", "_bucket", "_sum", "_count"].contains(&suffix).then_some(labels)
}

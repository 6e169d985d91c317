/** Runs one Java client: {@code Clients CLIENT URL RUN COUNT}. The rules of all runners are in ../python/plan.py. */
public final class Clients {
    private Clients() {}

    public static void main(String[] arguments) throws Exception {
        var plan = new Plan(arguments);
        switch (plan.client) {
            case "otlp-http-java", "otlp-http-java-gzip" -> OpenTelemetry.http(plan);
            case "otlp-grpc-java" -> OpenTelemetry.grpc(plan);
            case "elasticsearch-java" -> Elasticsearch.bulk(plan);
            case "logback-elasticsearch-appender" -> Logback.elasticsearch(plan);
            case "loki4j-json", "loki4j-proto" -> Logback.loki(plan);
            case "logback-syslog" -> Logback.syslog(plan);
            case "log4j2-syslog" -> Log4j.syslog(plan);
            case "log4j2-http" -> Log4j.http(plan);
            default -> throw new IllegalArgumentException("unknown client " + plan.client);
        }
        // Some clients keep threads.
        System.exit(0);
    }
}

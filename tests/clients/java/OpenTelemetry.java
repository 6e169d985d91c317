import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.http.logs.OtlpHttpLogRecordExporter;
import io.opentelemetry.exporter.otlp.logs.OtlpGrpcLogRecordExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.logs.SdkLoggerProvider;
import io.opentelemetry.sdk.logs.data.LogRecordData;
import io.opentelemetry.sdk.logs.export.BatchLogRecordProcessor;
import io.opentelemetry.sdk.logs.export.LogRecordExporter;
import io.opentelemetry.sdk.resources.Resource;
import java.time.Duration;
import java.util.Collection;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** OpenTelemetry's SDK: a batch processor, and the exporters for HTTP and gRPC. */
final class OpenTelemetry {
    private static final long FLUSHED_WITHIN_SECONDS = 30;

    private OpenTelemetry() {}

    static void http(Plan plan) throws InterruptedException {
        var compression = plan.client.endsWith("gzip") ? "gzip" : "none";
        var endpoint = plan.url + "/v1/logs";
        var builder = OtlpHttpLogRecordExporter.builder().setEndpoint(endpoint).setCompression(compression);
        if (plan.key != null) {
            builder.addHeader("Authorization", "Bearer " + plan.key);
        }
        send(plan, builder.build());
    }

    static void grpc(Plan plan) throws InterruptedException {
        var builder = OtlpGrpcLogRecordExporter.builder().setEndpoint(plan.url);
        if (plan.key != null) {
            builder.addHeader("Authorization", "Bearer " + plan.key);
        }
        send(plan, builder.build());
    }

    /** Counts the records of batches that an exporter reports as delivered. */
    private record Counting(LogRecordExporter exporter, Plan plan, AtomicInteger delivered)
            implements LogRecordExporter {
        @Override
        public CompletableResultCode export(Collection<LogRecordData> records) {
            int count = records.size();
            var result = exporter.export(records);
            result.whenComplete(() -> {
                if (result.isSuccess()) {
                    delivered.addAndGet(count);
                } else {
                    plan.failed(result.getFailureThrowable());
                }
            });
            return result;
        }

        @Override
        public CompletableResultCode flush() {
            return exporter.flush();
        }

        @Override
        public CompletableResultCode shutdown() {
            return exporter.shutdown();
        }
    }

    private static void send(Plan plan, LogRecordExporter exporter) throws InterruptedException {
        var counting = new Counting(exporter, plan, new AtomicInteger());
        var processor = BatchLogRecordProcessor.builder(counting).setScheduleDelay(Duration.ofMillis(500)).build();
        var resource = Resource.create(Attributes.of(AttributeKey.stringKey("service.name"), plan.source()));
        var provider = SdkLoggerProvider.builder().setResource(resource).addLogRecordProcessor(processor).build();
        var logger = provider.get("clients");
        var span = SpanContext.create(Plan.TRACE_ID, Plan.SPAN_ID, TraceFlags.getSampled(), TraceState.getDefault());
        var context = Context.root().with(Span.wrap(span));
        plan.events(event -> {
            var builder = logger.logRecordBuilder()
                .setTimestamp(event.time())
                .setSeverity(Severity.valueOf(event.level()))
                .setSeverityText(event.level())
                .setBody(event.text())
                .setAttribute(AttributeKey.longKey("order"), (long) event.number())
                .setContext(context);
            if (event.last()) {
                builder.setException(new Plan.Failure());
            }
            builder.emit();
        });
        provider.forceFlush().join(FLUSHED_WITHIN_SECONDS, TimeUnit.SECONDS);
        provider.shutdown().join(FLUSHED_WITHIN_SECONDS, TimeUnit.SECONDS);
        plan.report(counting.delivered().get());
    }
}

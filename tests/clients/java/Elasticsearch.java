import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch.core.BulkRequest;
import co.elastic.clients.util.BinaryData;
import co.elastic.clients.util.ContentType;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** The client of Elasticsearch, with bulk requests of five and the field names of the Elastic Common Schema. */
final class Elasticsearch {
    private static final int BATCH = 5;
    private static final String INDEX = "logs-clients-default";
    private static final String ERROR =
        ",\"error\":{\"type\":\"Failure\",\"stack_trace\":\"Failure: the disk of shard 7 is full\"}";

    private Elasticsearch() {}

    static void bulk(Plan plan) throws InterruptedException, IOException {
        int[] delivered = {0};
        List<Plan.Event> batch = new ArrayList<>();
        try (var client = ElasticsearchClient.of(builder ->
                plan.key == null ? builder.host(plan.url) : builder.host(plan.url).apiKey(plan.key))) {
            plan.events(event -> {
                batch.add(event);
                if (batch.size() == BATCH || event.last()) {
                    delivered[0] += send(plan, client, batch);
                    batch.clear();
                }
            });
        }
        plan.report(delivered[0]);
    }

    private static int send(Plan plan, ElasticsearchClient client, List<Plan.Event> batch) {
        var request = new BulkRequest.Builder();
        for (var event : batch) {
            var bytes = document(plan, event).getBytes(StandardCharsets.UTF_8);
            var document = BinaryData.of(bytes, ContentType.APPLICATION_JSON);
            request.operations(operation -> operation.create(create -> create.index(INDEX).document(document)));
        }
        int delivered = 0;
        try {
            for (var item : client.bulk(request.build()).items()) {
                if (item.error() == null) {
                    delivered++;
                } else {
                    plan.failed(item.error().reason());
                }
            }
        } catch (IOException | RuntimeException error) {
            plan.failed(error);
        }
        return delivered;
    }

    private static String document(Plan plan, Plan.Event event) {
        var error = event.last() ? ERROR : "";
        return """
            {"@timestamp":"%s","message":"%s","log":{"level":"%s"},"service":{"name":"%s"},"trace":{"id":"%s"},\
            "span":{"id":"%s"},"order":%d%s}""".formatted(event.time(), event.text(), event.level().toLowerCase(),
            plan.source(), Plan.TRACE_ID, Plan.SPAN_ID, event.number(), error);
    }
}

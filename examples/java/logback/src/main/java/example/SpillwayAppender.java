package example;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.IThrowableProxy;
import ch.qos.logback.classic.spi.ThrowableProxyUtil;
import ch.qos.logback.core.UnsynchronizedAppenderBase;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Sends events to Spillway in batches. Needs Java 17 and Logback 1.5 or newer; copy it and {@link Json} into
 * your application.
 *
 * <ul>
 * <li>A call to the logger never waits for the network: it puts the event into a bounded queue, and one thread sends
 *     batches.
 * <li>A batch is sent until Spillway answers it, each time with the same Idempotency-Key and the same eventIds.
 *     Spillway stores each event once.
 * <li>An event that is dropped is counted, reported on standard error, and reported to Spillway as a WARN event.
 * <li>{@link #stop} sends what is left, for at most {@code closeMillis}. Logback calls it through a shutdownHook.
 * </ul>
 */
public final class SpillwayAppender extends UnsynchronizedAppenderBase<ILoggingEvent> {
    // Limits of Spillway's API.
    private static final int SOURCE_BYTES_MAX = 255;
    private static final int TEXT_BYTES_MAX = 256 * 1024;
    private static final int METADATA_BYTES_MAX = 64 * 1024;
    /** A batch fits the default limit of common proxies for a body, 1 MiB. */
    private static final int BATCH_BYTES_MAX = 1_000_000;
    /** Spillway answers after at most 30 s. */
    private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(35);
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
    private static final long BACKOFF_MILLIS_MIN = 100;
    private static final long BACKOFF_MILLIS_MAX = 10_000;
    private static final long RETRY_AFTER_SECONDS_MAX = 60;
    /** At the end there is little time left: shorter pauses. */
    private static final long PAUSE_AT_CLOSE_MILLIS_MAX = 500;
    private static final long REPORT_INTERVAL_NANOS = Duration.ofMinutes(1).toNanos();

    private String source;
    private String url = "http://127.0.0.1:8080";
    private final List<String> headers = new ArrayList<>();
    private int queueEventsMax = 10_000;
    private long queueBytesMax = 16 * 1024 * 1024;
    private int batchEventsMax = 500;
    private long lingerMillis = 200;
    private long closeMillis = 10_000;

    private HttpClient client;
    private Thread thread;
    private final Object lock = new Object();
    // From here on guarded by the lock.
    /** Encoded events in order. Those of the batch that is being sent stay here until it is answered. */
    private Deque<byte[]> queue = new ArrayDeque<>();
    private long queueBytes;
    private boolean closing;
    private boolean stopped;
    private long dropped;
    private long droppedUnreported;
    private Long saidAtNanos;

    /** An answer. Its status is 0 if there is none, or if it proves nothing about the events. */
    private record Answer(int status, long retryAfterMillis, String reason, List<Integer> again, int refused) {
        static Answer none(String reason) {
            return new Answer(0, 0, reason, List.of(), 0);
        }
    }

    /** Name of the application, 1 to 255 bytes. Required. */
    public void setSource(String source) { this.source = source; }

    /** Base URL of Spillway. */
    public void setUrl(String url) { this.url = url; }

    /** A further header of each request, such as {@code Authorization: Bearer …}. */
    public void addHeader(String header) { headers.add(header); }

    /** How many events wait for Spillway at most; the last tenth is for ERROR. */
    public void setQueueEventsMax(int events) { queueEventsMax = events; }

    /** The same in bytes of JSON. */
    public void setQueueBytesMax(long bytes) { queueBytesMax = bytes; }

    /** How many events one request has at most: 1 to 10000. */
    public void setBatchEventsMax(int events) { batchEventsMax = events; }

    /** How long an event waits for others to share a request. */
    public void setLingerMillis(long millis) { lingerMillis = millis; }

    /** How long {@link #stop} sends what is left. */
    public void setCloseMillis(long millis) { closeMillis = millis; }

    /** Number of events that were dropped. */
    public long getDropped() {
        synchronized (lock) {
            return dropped;
        }
    }

    @Override
    public void start() {
        int length = source == null ? 0 : source.getBytes(StandardCharsets.UTF_8).length;
        if (length < 1 || length > SOURCE_BYTES_MAX || source.chars().anyMatch(Character::isISOControl)) {
            addError("source must have 1 to 255 bytes and no control characters");
            return;
        }
        client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(CONNECT_TIMEOUT).build();
        thread = new Thread(this::run, "spillway");
        thread.setDaemon(true);
        thread.start();
        super.start();
    }

    @Override
    public void stop() {
        if (!isStarted()) {
            return;
        }
        super.stop();
        synchronized (lock) {
            closing = true;
            lock.notifyAll();
        }
        try {
            thread.join(Math.max(1, closeMillis));
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        int left;
        synchronized (lock) {
            stopped = true;
            left = queue.size();
            queue = new ArrayDeque<>();
            dropped += left;
        }
        thread.interrupt();
        if (left > 0) {
            say(left + " events were not sent before the end", true);
        }
    }

    @Override
    protected void append(ILoggingEvent event) {
        // The client's own events would never end.
        if (Thread.currentThread() == thread) {
            return;
        }
        add(encode(event), event.getLevel().isGreaterOrEqual(Level.ERROR));
    }

    private byte[] encode(ILoggingEvent event) {
        Map<String, Object> metadata = new LinkedHashMap<>();
        metadata.put("logger", event.getLoggerName());
        metadata.put("thread", event.getThreadName());
        metadata.putAll(event.getMDCPropertyMap());
        if (event.getKeyValuePairs() != null) {
            event.getKeyValuePairs().forEach(pair -> metadata.put(pair.key, pair.value));
        }
        IThrowableProxy thrown = event.getThrowableProxy();
        String stackTrace = thrown == null ? null : ThrowableProxyUtil.asString(thrown);
        Instant time = event.getInstant() == null ? Instant.ofEpochMilli(event.getTimeStamp()) : event.getInstant();
        return encode(time, event.getLevel().toString(), event.getFormattedMessage(), stackTrace, metadata);
    }

    private byte[] encode(Instant time, String level, String message, String stackTrace, Map<String, Object> metadata) {
        Map<String, Object> event = new LinkedHashMap<>();
        event.put("eventId", UUID.randomUUID().toString());
        event.put("timestamp", time.truncatedTo(ChronoUnit.MICROS).toString());
        event.put("source", source);
        event.put("level", level);
        event.put("message", message == null || message.isEmpty() ? "(empty)" : cut(message));
        if (stackTrace != null) {
            event.put("stackTrace", cut(stackTrace));
        }
        takeId(metadata, event, "traceId", 32, "traceId", "trace_id");
        takeId(metadata, event, "spanId", 16, "spanId", "span_id");
        int bytes = Json.write(metadata).getBytes(StandardCharsets.UTF_8).length;
        event.put("metadata", bytes <= METADATA_BYTES_MAX ? metadata : Map.of("metadataBytesDropped", bytes));
        return Json.write(event).getBytes(StandardCharsets.UTF_8);
    }

    private static void takeId(
            Map<String, Object> from, Map<String, Object> to, String field, int digits, String... names) {
        for (String name : names) {
            if (from.get(name) instanceof String id && id.matches("[0-9a-fA-F]{" + digits + "}")) {
                to.put(field, id);
                from.remove(name);
            }
        }
    }

    private void add(byte[] event, boolean severe) {
        double share = severe ? 1 : 0.9;
        boolean fits;
        synchronized (lock) {
            fits = !closing && queue.size() < queueEventsMax * share
                    && queueBytes + event.length <= queueBytesMax * share;
            if (fits) {
                queue.add(event);
                queueBytes += event.length;
                // Each event would wake the thread too often.
                if (queue.size() == 1 || queue.size() == batchEventsMax) {
                    lock.notifyAll();
                }
            }
        }
        if (!fits) {
            drop(1, "the queue is full");
        }
    }

    // ---- The sender thread

    private void run() {
        try {
            for (List<byte[]> batch = nextBatch(); !batch.isEmpty(); batch = nextBatch()) {
                send(batch);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** The next events, which stay in the queue. Empty at the end. */
    private List<byte[]> nextBatch() throws InterruptedException {
        synchronized (lock) {
            while (queue.isEmpty() && !closing) {
                lock.wait();
            }
            long end = System.nanoTime() + lingerMillis * 1_000_000;
            for (long left = lingerMillis; left > 0 && queue.size() < batchEventsMax && !closing; ) {
                lock.wait(left);
                left = (end - System.nanoTime()) / 1_000_000;
            }
            List<byte[]> batch = new ArrayList<>();
            long bytes = 0;
            for (byte[] event : queue) {
                bytes += event.length + 1;
                if (batch.size() == batchEventsMax || !batch.isEmpty() && bytes > BATCH_BYTES_MAX) {
                    break;
                }
                batch.add(event);
            }
            return batch;
        }
    }

    /** Sends a batch until it is answered. */
    private void send(List<byte[]> batch) throws InterruptedException {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        for (byte[] event : batch) {
            body.write(body.size() == 0 ? '[' : ',');
            body.writeBytes(event);
        }
        body.write(']');
        String key = UUID.randomUUID().toString();
        for (long backoff = BACKOFF_MILLIS_MIN; ; backoff = Math.min(backoff * 2, BACKOFF_MILLIS_MAX)) {
            Answer answer = post(body.toByteArray(), key, batch.size());
            if (answer.status != 0 && answer.status != 408 && answer.status != 429 && answer.status < 500) {
                settle(batch, answer);
                return;
            }
            say("Spillway takes no events, trying again: " + answer.reason, false);
            long jittered = backoff / 2 + ThreadLocalRandom.current().nextLong(backoff / 2);
            pause(answer.retryAfterMillis > 0 ? answer.retryAfterMillis : jittered);
        }
    }

    private Answer post(byte[] body, String key, int events) throws InterruptedException {
        try {
            URI uri = URI.create(url.replaceAll("/+$", "") + "/api/logs/batch");
            HttpRequest.Builder request = HttpRequest.newBuilder(uri).timeout(ANSWER_TIMEOUT)
                    .header("Content-Type", "application/json").header("Idempotency-Key", key)
                    .POST(HttpRequest.BodyPublishers.ofByteArray(body));
            for (String header : headers) {
                int colon = header.indexOf(':');
                request.header(header.substring(0, colon).strip(), header.substring(colon + 1).strip());
            }
            HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            return read(response, events);
        } catch (IOException | RuntimeException noAnswer) {
            return Answer.none(noAnswer.toString());
        }
    }

    private static Answer read(HttpResponse<String> response, int events) {
        int status = response.statusCode();
        long seconds = response.headers().firstValue("Retry-After").filter(text -> text.matches("\\d{1,9}"))
                .map(Long::valueOf).orElse(0L);
        Map<?, ?> answer = Json.read(response.body()) instanceof Map<?, ?> object ? object : Map.of();
        String reason = status + " " + answer.get("code") + " " + answer.get("detail");
        List<Integer> again = new ArrayList<>();
        int refused = 0;
        if (status == 202) {
            boolean[] seen = new boolean[events];
            if (!(answer.get("errors") instanceof List<?> errors)
                    || !Double.valueOf(events - errors.size()).equals(answer.get("accepted"))) {
                return Answer.none("the answer is invalid");
            }
            for (Object entry : errors) {
                // An answer that does not account for every event proves nothing about any of them.
                if (!(entry instanceof Map<?, ?> error && error.get("index") instanceof Double index)
                        || index < 0 || index >= events || seen[index.intValue()]) {
                    return Answer.none("the answer is invalid");
                }
                seen[index.intValue()] = true;
                if (Boolean.TRUE.equals(error.get("retryable"))) {
                    again.add(index.intValue());
                } else {
                    refused++;
                    reason = error.get("code") + ": " + error.get("detail");
                }
            }
        }
        return new Answer(status, Math.min(seconds, RETRY_AFTER_SECONDS_MAX) * 1000, reason, again, refused);
    }

    /** Removes an answered batch from the queue, and puts back what Spillway will take later. */
    private void settle(List<byte[]> batch, Answer answer) throws InterruptedException {
        synchronized (lock) {
            if (stopped) {
                return;
            }
            batch.forEach(event -> queueBytes -= queue.remove().length);
            for (int index : answer.again) {
                queue.add(batch.get(index));
                queueBytes += batch.get(index).length;
            }
        }
        int refused = answer.status == 202 ? answer.refused : batch.size();
        if (refused > 0) {
            drop(refused, answer.reason);
        }
        if (!answer.again.isEmpty()) {
            pause(1000);
        } else if (answer.status == 202) {
            reportDropped();
        }
    }

    /** Waits; shorter while the appender stops. */
    private void pause(long millis) throws InterruptedException {
        long end = System.nanoTime() + millis * 1_000_000;
        synchronized (lock) {
            for (long left = millis; left > 0 && !closing; left = (end - System.nanoTime()) / 1_000_000) {
                lock.wait(left);
            }
        }
        // Not past the end of the pause, and not without one: the server would be asked without interruption.
        if (System.nanoTime() < end) {
            Thread.sleep(Math.min(millis, PAUSE_AT_CLOSE_MILLIS_MAX));
        }
    }

    private void drop(int count, String reason) {
        long all;
        synchronized (lock) {
            droppedUnreported += count;
            all = dropped += count;
        }
        say(count + " events dropped (" + all + " in all): " + reason, false);
    }

    /** Queues an event that says how many were dropped, also while the appender stops. */
    private void reportDropped() {
        synchronized (lock) {
            if (droppedUnreported > 0 && !stopped) {
                String message = droppedUnreported + " log events were dropped before they reached Spillway";
                Map<String, Object> metadata = new LinkedHashMap<>(Map.of("dropped", droppedUnreported));
                byte[] event = encode(Instant.now(), "WARN", message, null, metadata);
                droppedUnreported = 0;
                queue.add(event);
                queueBytes += event.length;
            }
        }
    }

    /** Prints to standard error, once a minute: an appender cannot log its own failures. */
    private void say(String text, boolean always) {
        synchronized (lock) {
            if (!always && saidAtNanos != null && System.nanoTime() - saidAtNanos < REPORT_INTERVAL_NANOS) {
                return;
            }
            saidAtNanos = System.nanoTime();
        }
        System.err.println("spillway: " + text.substring(0, Math.min(500, text.length())));
    }

    private static String cut(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        if (bytes.length <= TEXT_BYTES_MAX) {
            return text;
        }
        int end = TEXT_BYTES_MAX;
        while (end > 0 && (bytes[end] & 0xC0) == 0x80) {
            end--;
        }
        return new String(bytes, 0, end, StandardCharsets.UTF_8);
    }
}

import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** What one client is to send, and how a runner reports. The rules of all runners are in ../python/plan.py. */
final class Plan {
    static final String TRACE_ID = "5f2b1c7d9e3a48606b1d0c4e8f7a9235";
    static final String SPAN_ID = "9c41d07be2a35f68";
    private static final String[] LEVELS = {"INFO", "WARN", "ERROR"};
    private static final int ERRORS_MAX = 3;

    final String client;
    final String url;
    final int count;
    /** The access key to present, or null. */
    final String key = System.getenv("CLIENT_KEY");
    private final String run;
    private final List<String> errors = new ArrayList<>();

    /** One event to send. */
    record Event(int number, String level, String text, Instant time, boolean last) {}

    /** What the last event of a run reports, so that it has a stack trace. */
    static final class Failure extends RuntimeException {
        Failure() {
            super("the disk of shard 7 is full");
        }
    }

    Plan(String[] arguments) {
        client = arguments[0];
        url = arguments[1].replaceAll("/$", "");
        run = arguments[2];
        count = Integer.parseInt(arguments[3]);
    }

    /** The source of the events. */
    String source() {
        return "clients-" + client;
    }

    /** Whether it speaks TLS. */
    boolean secure() {
        return url.startsWith("https:") || url.startsWith("syslogs:");
    }

    String host() {
        return address()[0];
    }

    int port() {
        return Integer.parseInt(address()[1]);
    }

    private String[] address() {
        return url.substring(url.indexOf("://") + 3).split(":");
    }

    private static void awaitStart() {
        try {
            System.in.read();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Calls {@code send} for each event, with pauses. Reports that sending begins. */
    void events(Consumer<Event> send) throws InterruptedException {
        var began = Instant.ofEpochMilli(variable("EVENT_TIME_MS", System.currentTimeMillis()));
        long pause = variable("EVENT_PAUSE_MS", 0);
        System.out.println("{\"ready\":true}");
        if (System.getenv("AWAIT_START") != null) {
            awaitStart();
        }
        for (int number = 0; number < count; number++) {
            if (number > 0) {
                Thread.sleep(pause);
            }
            var level = LEVELS[number * LEVELS.length / count];
            var text = "clients " + run + " " + client + " " + number;
            // With all nine digits, as a clock has them.
            var time = began.plusMillis(number).plusNanos(123_457);
            send.accept(new Event(number, level, text, time, number == count - 1));
        }
    }

    private static long variable(String name, long otherwise) {
        var value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : Long.parseLong(value);
    }

    /** Keeps an error for the report. */
    synchronized void failed(Object error) {
        errors.add(String.valueOf(error));
    }

    /** Prints the result; {@code delivered} is null if the client reports nothing. */
    synchronized void report(Integer delivered) {
        var texts = new ArrayList<String>();
        for (var error : errors.subList(0, Math.min(errors.size(), ERRORS_MAX))) {
            var plain = error.replaceAll("[\\p{Cntrl}\"\\\\]", " ");
            texts.add("\"" + plain.substring(0, Math.min(plain.length(), 200)) + "\"");
        }
        System.out.println("{\"delivered\":" + delivered + ",\"errors\":[" + String.join(",", texts) + "]}");
    }
}

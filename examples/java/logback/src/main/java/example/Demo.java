package example;

import java.io.IOException;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.MDC;

/**
 * Logs what an application logs, and prints how many events that were. The variable LOGS_SOURCE is the source. With
 * DEMO_WAIT=1 it waits in the middle for a line on standard input.
 */
public final class Demo {
    private static final int BURST_EVENTS = 500;
    private static final Logger LOG = LoggerFactory.getLogger("shop.checkout");

    private Demo() {}

    private static void charge() {
        try {
            throw new IOException("card service refused the connection");
        } catch (IOException cause) {
            throw new IllegalStateException("payment failed", cause);
        }
    }

    public static void main(String[] arguments) throws IOException {
        try (MDC.MDCCloseable ignored = MDC.putCloseable("orderId", "A-1042")) {
            LOG.atInfo().addKeyValue("items", 3).addKeyValue("customer", Map.of("country", "PL")).log("order accepted");
        }
        LOG.warn("stock is low: {} left", 2);
        try {
            charge();
        } catch (IllegalStateException failure) {
            LOG.error("order not paid", failure);
        }
        LOG.info("Zażółć gęślą jaźń 東京 🚀 tab\t newline\n escape \u001b[31m bell \u0007 end");
        if (System.getenv("DEMO_WAIT") != null) {
            System.out.println("waiting");
            System.in.read();
        }
        for (int number = 0; number < BURST_EVENTS; number++) {
            LOG.atInfo().addKeyValue("number", number).log("burst {}", number);
        }
        System.out.println("logged=" + (4 + BURST_EVENTS));
    }
}

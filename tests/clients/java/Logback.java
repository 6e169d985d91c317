import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.joran.JoranConfigurator;
import ch.qos.logback.classic.spi.LoggingEvent;
import ch.qos.logback.core.joran.spi.JoranException;
import ch.qos.logback.core.status.Status;
import com.internetitem.logback.elasticsearch.ElasticsearchAppender;
import com.internetitem.logback.elasticsearch.config.BasicAuthentication;
import com.internetitem.logback.elasticsearch.config.ElasticsearchProperties;
import com.internetitem.logback.elasticsearch.config.Property;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Appenders of logback, configured as users do it. They report errors as status messages, and nothing else. */
final class Logback {
    private static final long SENT_WITHIN_MS = 30_000;

    private Logback() {}

    /** JSON or protobuf; the labels and the structured metadata are its defaults and the service. */
    static void loki(Plan plan) throws Exception {
        var login = plan.key == null
            ? "" : "<auth><username>clients</username><password>" + plan.key + "</password></auth>";
        send(plan, """
            <appender name="out" class="com.github.loki4j.logback.Loki4jAppender">
              <labels>service_name=%s</labels>
              <message><pattern>%%msg%%nopex</pattern></message>
              <batch><timeoutMs>500</timeoutMs></batch>
              <http>
                <url>%s/loki/api/v1/push</url><useProtobufApi>%s</useProtobufApi>
                <requestTimeoutMs>20000</requestTimeoutMs>%s
              </http>
            </appender>
            """.formatted(plan.source(), plan.url, plan.client.endsWith("proto"), login));
    }

    /**
     * With the properties that its documentation shows. They are set here, since logback 1.5 takes {@code property} in
     * its configuration for its own.
     */
    static void elasticsearch(Plan plan) throws Exception {
        var properties = new ElasticsearchProperties();
        properties.addProperty(new Property("service.name", plan.source(), false));
        properties.addProperty(new Property("severity", "%level", false));
        properties.addProperty(new Property("logger", "%logger", false));
        properties.addProperty(new Property("stacktrace", "%ex", false));
        var appender = new ElasticsearchAppender();
        appender.setUrl(plan.url + "/_bulk");
        if (plan.key != null) {
            // It takes user and password from the URL.
            appender.setUrl(plan.url.replace("://", "://clients:" + plan.key + "@") + "/_bulk");
            appender.setAuthentication(new BasicAuthentication());
        }
        appender.setIndex("logs-clients");
        appender.setIncludeMdc(true);
        appender.setErrorsToStderr(true);
        appender.setProperties(properties);
        var context = new LoggerContext();
        appender.setContext(context);
        appender.start();
        context.getLogger(Logger.ROOT_LOGGER_NAME).addAppender(appender);
        send(plan, context);
    }

    /** One datagram per event, with the time of the event in seconds. */
    static void syslog(Plan plan) throws Exception {
        send(plan, """
            <appender name="out" class="ch.qos.logback.classic.net.SyslogAppender">
              <syslogHost>%s</syslogHost>
              <port>%d</port>
              <facility>LOCAL0</facility>
              <suffixPattern>%s: %%msg</suffixPattern>
              <throwableExcluded>true</throwableExcluded>
            </appender>
            """.formatted(plan.host(), plan.port(), plan.source()));
    }

    private static void send(Plan plan, String appender) throws JoranException, InterruptedException {
        var context = new LoggerContext();
        var configuration = "<configuration>" + appender
            + "<root level=\"DEBUG\"><appender-ref ref=\"out\"/></root></configuration>";
        var configurator = new JoranConfigurator();
        configurator.setContext(context);
        configurator.doConfigure(new ByteArrayInputStream(configuration.getBytes(StandardCharsets.UTF_8)));
        send(plan, context);
    }

    private static void send(Plan plan, LoggerContext context) throws InterruptedException {
        Logger logger = context.getLogger("clients");
        plan.events(event -> {
            var failure = event.last() ? new Plan.Failure() : null;
            var level = Level.toLevel(event.level());
            var logged = new LoggingEvent(Logback.class.getName(), logger, level, event.text(), failure, null);
            logged.setInstant(event.time());
            logged.setMDCPropertyMap(
                Map.of("order", String.valueOf(event.number()), "trace_id", Plan.TRACE_ID, "span_id", Plan.SPAN_ID));
            logger.callAppenders(logged);
        });
        // Batches are sent each half second or less.
        Thread.sleep(1500);
        // The thread of the appender for Elasticsearch, which does not wait for it, ends when everything is sent.
        for (var thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().startsWith("es-writer")) {
                thread.join(SENT_WITHIN_MS);
            }
        }
        context.stop();
        for (var status : context.getStatusManager().getCopyOfStatusList()) {
            if (status.getLevel() >= Status.WARN) {
                plan.failed(status);
            }
        }
        plan.report(null);
    }
}

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.Appender;
import org.apache.logging.log4j.core.config.ConfigurationSource;
import org.apache.logging.log4j.core.config.Configurator;
import org.apache.logging.log4j.core.impl.Log4jLogEvent;
import org.apache.logging.log4j.core.time.MutableInstant;
import org.apache.logging.log4j.message.SimpleMessage;
import org.apache.logging.log4j.util.SortedArrayStringMap;

/** Appenders of Log4j, configured as users do it. */
final class Log4j {
    private Log4j() {}

    /** One request per event, with the fields of the Elastic Common Schema. A refusal is an exception to the caller. */
    static void http(Plan plan) throws Exception {
        var key = plan.key == null ? "" : "<Property name=\"Authorization\" value=\"Bearer " + plan.key + "\"/>";
        int failed = send(plan, """
            <Http name="out" url="%s/api/logs/ingest?source=%s" ignoreExceptions="false" readTimeoutMillis="20000">
              <JsonTemplateLayout eventTemplateUri="classpath:EcsLayout.json"/>%s
            </Http>
            """.formatted(plan.url, plan.source(), key));
        plan.report(plan.count - failed);
    }

    /** RFC 5424 over TCP, with a newline after each message. */
    static void syslog(Plan plan) throws Exception {
        var store = System.getenv("CLIENT_KEY_STORE");
        var tls = plan.secure() ? "<Ssl><KeyStore location=\"" + store + "\" password=\"changeit\"/></Ssl>" : "";
        send(plan, """
            <Syslog name="out" format="RFC5424" host="%s" port="%d" protocol="%s" appName="%s" facility="LOCAL0"
                    newLine="true" mdcId="mdc" includeMDC="true" enterpriseNumber="32473" ignoreExceptions="false">
              %s
            </Syslog>
            """.formatted(plan.host(), plan.port(), plan.secure() ? "SSL" : "TCP", plan.source(), tls));
        plan.report(null);
    }

    private static int send(Plan plan, String appender) throws Exception {
        var text = "<Configuration status=\"WARN\"><Appenders>" + appender
            + "</Appenders><Loggers><Root level=\"debug\"/></Loggers></Configuration>";
        var source = new ConfigurationSource(new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)));
        var context = Configurator.initialize(null, source);
        Appender out = context.getConfiguration().getAppender("out");
        int[] failed = {0};
        plan.events(event -> {
            try {
                out.append(logged(plan, event));
            } catch (RuntimeException error) {
                failed[0]++;
                plan.failed(error.getCause() == null ? error : error.getCause());
            }
        });
        Configurator.shutdown(context);
        return failed[0];
    }

    private static Log4jLogEvent logged(Plan plan, Plan.Event event) {
        var time = new MutableInstant();
        time.initFromEpochSecond(event.time().getEpochSecond(), event.time().getNano());
        var values = new SortedArrayStringMap();
        values.putValue("order", String.valueOf(event.number()));
        values.putValue("trace.id", Plan.TRACE_ID);
        values.putValue("span.id", Plan.SPAN_ID);
        return Log4jLogEvent.newBuilder()
            .setLoggerName(plan.source())
            .setLevel(Level.valueOf(event.level()))
            .setMessage(new SimpleMessage(event.text()))
            .setThrown(event.last() ? new Plan.Failure() : null)
            .setInstant(time)
            .setContextData(values)
            .build();
    }
}

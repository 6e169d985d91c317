package example;

import java.util.Map;
import java.util.UUID;
import org.apache.logging.log4j.core.util.ContextDataProvider;

/**
 * Gives every event an id when it is created, so that the request and the line in the file have the same one: Spillway
 * stores the event once, even if it arrives twice.
 */
public final class EventIds implements ContextDataProvider {
    @Override
    public Map<String, String> supplyContextData() {
        return Map.of("eventId", UUID.randomUUID().toString());
    }
}

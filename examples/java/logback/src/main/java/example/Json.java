package example;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON as far as {@link SpillwayAppender} needs it. */
final class Json {
    /** The API allows 16 levels of nesting. */
    private static final int DEPTH_MAX = 8;
    private static final int ELEMENTS_MAX = 1000;

    private final String text;
    private int position;

    private Json(String text) {
        this.text = text;
    }

    /** A value as JSON that Spillway can represent; what JSON does not know becomes text. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value, 0);
        return out.toString();
    }

    /** Strings, Doubles, Booleans, Maps and Lists. Null if the text is not JSON, or nested too deep. */
    static Object read(String text) {
        Json json = new Json(text);
        try {
            Object value = json.value(0);
            json.skipSpaces();
            return json.position == text.length() ? value : null;
        } catch (IllegalArgumentException | StringIndexOutOfBoundsException invalid) {
            return null;
        }
    }

    private static void write(StringBuilder out, Object value, int depth) {
        if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long
                || value instanceof Short || value instanceof Byte
                || value instanceof Double number && Double.isFinite(number)
                || value instanceof Float real && Float.isFinite(real)) {
            out.append(value);
        } else if (value instanceof Map<?, ?> map && depth < DEPTH_MAX) {
            Map<String, Object> members = new LinkedHashMap<>();
            map.entrySet().stream().limit(ELEMENTS_MAX)
                    .forEach(entry -> members.put(textOf(entry.getKey()), entry.getValue()));
            out.append('{');
            members.forEach((name, member) -> {
                separate(out, '{');
                quote(out, name);
                write(out.append(':'), member, depth + 1);
            });
            out.append('}');
        } else if (value instanceof Object[] array && depth < DEPTH_MAX) {
            write(out, Arrays.asList(array), depth);
        } else if (value instanceof Iterable<?> elements && depth < DEPTH_MAX) {
            out.append('[');
            int count = 0;
            for (Object element : elements) {
                if (count++ == ELEMENTS_MAX) {
                    break;
                }
                separate(out, '[');
                write(out, element, depth + 1);
            }
            out.append(']');
        } else {
            quote(out, textOf(value));
        }
    }

    private static void separate(StringBuilder out, char open) {
        if (out.charAt(out.length() - 1) != open) {
            out.append(',');
        }
    }

    /** A conversion to text is code of the application, and may fail. */
    private static String textOf(Object value) {
        try {
            return String.valueOf(value);
        } catch (RuntimeException | StackOverflowError failure) {
            return "(no text: " + failure.getClass().getName() + ")";
        }
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        text.codePoints().forEach(character -> {
            if (character == '"' || character == '\\') {
                out.append('\\').append((char) character);
            } else if (character < ' ') {
                out.append(String.format("\\u%04x", character));
            } else if (character >= Character.MIN_SURROGATE && character <= Character.MAX_SURROGATE) {
                // Half of a surrogate pair, which Spillway refuses.
                out.append('\uFFFD');
            } else {
                out.appendCodePoint(character);
            }
        });
        out.append('"');
    }

    private Object value(int depth) {
        if (depth > DEPTH_MAX) {
            throw new IllegalArgumentException("nested too deep");
        }
        skipSpaces();
        switch (text.charAt(position)) {
            case '{': {
                Map<String, Object> members = new LinkedHashMap<>();
                for (boolean more = !opens('}'); more; more = next('}')) {
                    skipSpaces();
                    String name = string();
                    skipSpaces();
                    expect(':');
                    members.put(name, value(depth + 1));
                }
                return members;
            }
            case '[': {
                List<Object> elements = new ArrayList<>();
                for (boolean more = !opens(']'); more; more = next(']')) {
                    elements.add(value(depth + 1));
                }
                return elements;
            }
            case '"':
                return string();
            default:
                int begin = position;
                while (position < text.length() && ",]} \t\r\n".indexOf(text.charAt(position)) < 0) {
                    position++;
                }
                String word = text.substring(begin, position);
                return switch (word) {
                    case "true" -> true;
                    case "false" -> false;
                    case "null" -> null;
                    default -> Double.valueOf(word);
                };
        }
    }

    /** Passes an opening bracket, and the closing one if it follows. */
    private boolean opens(char close) {
        position++;
        skipSpaces();
        if (text.charAt(position) != close) {
            return false;
        }
        position++;
        return true;
    }

    /** Passes a comma, or the closing bracket. */
    private boolean next(char close) {
        skipSpaces();
        if (text.charAt(position) == close) {
            position++;
            return false;
        }
        expect(',');
        return true;
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        for (char character = text.charAt(position++); character != '"'; character = text.charAt(position++)) {
            if (character != '\\') {
                out.append(character);
                continue;
            }
            char escape = text.charAt(position++);
            int known = "bfnrt".indexOf(escape);
            if (escape == 'u') {
                out.append((char) Integer.parseInt(text.substring(position, position + 4), 16));
                position += 4;
            } else {
                out.append(known < 0 ? escape : "\b\f\n\r\t".charAt(known));
            }
        }
        return out.toString();
    }

    private void expect(char character) {
        if (text.charAt(position++) != character) {
            throw new IllegalArgumentException("not JSON");
        }
    }

    private void skipSpaces() {
        while (position < text.length() && " \t\r\n".indexOf(text.charAt(position)) >= 0) {
            position++;
        }
    }
}

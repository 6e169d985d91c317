// Texts that must be shown as text: markup, control sequences of terminals, changes of direction, and long lines.
export const HOSTILE = [
  '<script>document.title="owned"</script>',
  '<img src=x onerror="document.title=\'owned\'">',
  '<svg onload=alert(1)><a xlink:href="javascript:alert(1)">x</a></svg>',
  '"><style>body{display:none}</style>',
  '</pre></div><iframe src="javascript:parent.document.title=1"></iframe>',
  '{{constructor.constructor("alert(1)")()}} ${7*7} <%= 7*7 %>',
  '\u001b[31mred\u001b[0m \u001b[1;4;92mbold\u001b[0m \u001b[38;2;1;2;3mrgb\u001b[0m \u001b[2J\u001b[H\u001b]0;title\u0007 after',
  '\u001b]8;;http://example.com\u001b\\link\u001b]8;;\u001b\\ \u001b[',
  'user \u202egnp.exe\u202c sent \u2066isolated\u2069 \u200b\ufeff \u2028 line',
  'bell \u0007 backspace \u0008\u0008 carriage\rreturn null \ufffd delete \u007f',
  'a\u0300'.repeat(2_000),
  '\ud83d\ude00'.repeat(2_000),
  '\u001b[3m\u0001'.repeat(5_000),
  'x'.repeat(262_144),
  'word '.repeat(50_000),
  'line\n'.repeat(20_000),
];

/** The same as the name of a source, as the name and the value of a field, and as a stack trace. */
export function hostileEvents(now) {
  return HOSTILE.map((text, index) => ({
    source: `hostile ${index} ${withoutControls(text).slice(0, 60)}`,
    level: ['INFO', 'WARN', 'ERROR', 'FATAL'][index % 4],
    message: text,
    timestamp: new Date(now - index * 1_000).toISOString(),
    stackTrace: text.slice(0, 50_000),
    metadata: { [`name ${text.slice(0, 100)}`]: text.slice(0, 5_000), big: 1, nested: { deeper: { list: [text.slice(0, 200), 1, null, true] } } },
  }));
}

/** A source has no control characters (docs/api.md). */
function withoutControls(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}

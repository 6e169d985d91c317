// JSON whose numbers keep their digits.
//
// Metadata may have numbers of any size (docs/search.md), and a 64-bit id that lost its last digits finds nothing. A number
// that a double cannot hold becomes an `ExactNumber`; everything else is parsed as usual.

/** A number as it was written, because a double cannot hold it. */
export class ExactNumber {
  constructor(readonly text: string) {}

  toString(): string {
    return this.text;
  }

  /** For `JSON.stringify`. Browsers without `JSON.rawJSON` write the digits as a string rather than change them. */
  toJSON(): unknown {
    const json = JSON as unknown as { rawJSON?: (text: string) => unknown };
    return json.rawJSON ? json.rawJSON(this.text) : this.text;
  }
}

/** Cheap, and true for every text that has a number which a double may not hold. */
const MAY_BE_INEXACT = /\d{16}|\d\.\d{8}/;

type Reviver = (this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown;

const keepDigits: Reviver = (_key, value, context) => {
  const source = context?.source;
  if (typeof value !== 'number' || source === undefined || source.length < 16) return value;
  return String(value) === source ? value : new ExactNumber(source);
};

/** Parses JSON. Throws `SyntaxError` as `JSON.parse` does. */
export function parseExactly(text: string): unknown {
  return MAY_BE_INEXACT.test(text) ? JSON.parse(text, keepDigits as Parameters<typeof JSON.parse>[1]) : JSON.parse(text);
}

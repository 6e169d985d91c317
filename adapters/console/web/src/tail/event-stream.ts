// Reading Server-Sent Events (WHATWG HTML, section 9.2), as far as Spillway sends them.
//
// `EventSource` is not used: it hides why a connection failed, and a worker that reads by itself can be slower than the server
// without filling the memory of the page.

export interface Message {
  readonly name: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** More than the largest event (1,000,000 bytes and escapes). A longer line is an error. */
const LINE_CHARACTERS_MAX = 16 * 1024 * 1024;

export class EventStreamReader {
  #rest = '';
  #data: string[] = [];
  #name = '';
  #id: string | undefined;

  /** Takes the next part of the text and returns the messages that it completes. */
  push(text: string): Message[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > LINE_CHARACTERS_MAX) throw new Error('a line of the stream is too long');
    const messages: Message[] = [];
    for (const line of lines) {
      const message = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
      if (message) messages.push(message);
    }
    return messages;
  }

  #line(line: string): Message | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#name = value;
    else if (field === 'id') this.#id = value;
    return undefined;
  }

  #dispatch(): Message | undefined {
    const message = this.#data.length > 0 || this.#id !== undefined ? { name: this.#name, data: this.#data.join('\n'), id: this.#id } : undefined;
    this.#data = [];
    this.#name = '';
    this.#id = undefined;
    return message;
  }
}

/**
 * A writer for Protocol Buffers messages: the wire format that ONNX files have. All of a message is written into one buffer,
 * its parts too: opening a session waits for it.
 */

const encoder = new TextEncoder();

/** Bytes that a part's length takes, with leading zeros: it is known only when the part is written. */
const LENGTH_BYTES = 5;

export class Message {
  private written = new Uint8Array(2 ** 12);
  private length = 0;

  integer(field: number, value: number | bigint): this {
    this.varint(field << 3);
    return this.varint(value);
  }

  float(field: number, value: number): this {
    this.varint((field << 3) | 5);
    return this.append(new Uint8Array(Float32Array.of(value).buffer));
  }

  bytes(field: number, value: Uint8Array): this {
    this.varint((field << 3) | 2);
    this.varint(value.byteLength);
    return this.append(value);
  }

  text(field: number, value: string): this {
    const start = this.length;
    this.varint((field << 3) | 2);
    this.varint(value.length);
    this.reserve(value.length);
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 127) {
        this.length = start;
        return this.bytes(field, encoder.encode(value));
      }
      this.written[this.length++] = code;
    }
    return this;
  }

  /** A message inside this one, which `write` writes. */
  message(field: number, write: (part: Message) => void): this {
    this.varint((field << 3) | 2);
    this.reserve(LENGTH_BYTES);
    const start = this.length;
    this.length += LENGTH_BYTES;
    write(this);
    let rest = this.length - start - LENGTH_BYTES;
    for (let i = 0; i < LENGTH_BYTES; i++) {
      const more = i < LENGTH_BYTES - 1 ? 128 : 0;
      this.written[start + i] = (rest % 128) | more;
      rest = Math.floor(rest / 128);
    }
    return this;
  }

  /** The message so far: a view, which later fields may leave behind. */
  finish(): Uint8Array {
    return this.written.subarray(0, this.length);
  }

  private append(bytes: Uint8Array): this {
    this.reserve(bytes.byteLength);
    this.written.set(bytes, this.length);
    this.length += bytes.byteLength;
    return this;
  }

  private reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.written.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.written.length));
    larger.set(this.finish());
    this.written = larger;
  }

  /** Base-128 digits, low first; negative integers as their 64-bit two's complement. */
  private varint(value: number | bigint): this {
    this.reserve(10);
    if (typeof value === "number" && value >= 0 && value < 2 ** 31) {
      let rest = value;
      while (rest > 127) {
        this.written[this.length++] = (rest & 127) | 128;
        rest >>>= 7;
      }
      this.written[this.length++] = rest;
      return this;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 127n) {
      this.written[this.length++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.written[this.length++] = Number(rest);
    return this;
  }
}

/** A writer for Protocol Buffers messages: the wire format that ONNX files have. */

const encoder = new TextEncoder();

export class Message {
  private readonly parts: Uint8Array[] = [];
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
    return this.bytes(field, encoder.encode(value));
  }

  message(field: number, value: Message): this {
    this.varint((field << 3) | 2);
    this.varint(value.length);
    for (const part of value.parts) this.append(part);
    return this;
  }

  finish(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.byteLength;
    }
    return out;
  }

  private append(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.length += bytes.byteLength;
    return this;
  }

  /** Base-128 digits, low first; negative integers as their 64-bit two's complement. */
  private varint(value: number | bigint): this {
    const digits: number[] = [];
    if (typeof value === "number" && value >= 0 && value < 2 ** 31) {
      let rest = value;
      while (rest > 127) {
        digits.push((rest & 127) | 128);
        rest >>>= 7;
      }
      digits.push(rest);
    } else {
      let rest = BigInt.asUintN(64, BigInt(value));
      while (rest > 127n) {
        digits.push(Number(rest & 127n) | 128);
        rest >>= 7n;
      }
      digits.push(Number(rest));
    }
    return this.append(Uint8Array.from(digits));
  }
}

/** Images of the user: PNG is read here, other formats by the optional package sharp. */

import { readFileSync } from "node:fs";
import { FormatError, LowrankError, messageOf } from "../errors.ts";
import { ioError } from "../files/io-error.ts";
import { decodePng, isPng, type RgbImage } from "../files/png.ts";

/** What this library uses of sharp. */
interface Sharp {
  rotate(): Sharp;
  flatten(options: { background: string }): Sharp;
  toColourspace(space: string): Sharp;
  removeAlpha(): Sharp;
  raw(): Sharp;
  toBuffer(options: { resolveWithObject: true }): Promise<{
    data: Uint8Array;
    info: { width: number; height: number; channels: number };
  }>;
}

/** Reads an image; transparency is laid on white. Throws FormatError for one that is damaged or cannot be read here. */
export async function readImageFile(path: string): Promise<RgbImage> {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw ioError("read", path, error);
  }
  if (isPng(bytes) && bytes[28] === 0) return decodePng(bytes, path); // byte 28 says whether it is interlaced
  const name = "sharp"; // a name that is not written in the import is not demanded by compilers
  let sharp: (input: Uint8Array) => Sharp;
  try {
    sharp = ((await import(name)) as { default: typeof sharp }).default;
  } catch {
    throw new LowrankError(`${path}: only PNG images are read without the package sharp. Run: npm install sharp`);
  }
  try {
    const image = sharp(bytes).rotate().flatten({ background: "#ffffff" }).toColourspace("srgb").removeAlpha().raw();
    const { data, info } = await image.toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${info.channels} channels`);
    return { width: info.width, height: info.height, data };
  } catch (error) {
    throw new FormatError(`${path}: it cannot be read as an image (${messageOf(error)}). Save it again.`);
  }
}

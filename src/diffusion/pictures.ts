/** Pictures of bytes and images of −1 to 1, channel after channel. */

import type { RgbImage } from "../files/png.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";

/** Image `index` of [B, 3, H, W] as a picture. */
export function toPicture({ shape, data }: Tensor, index: number): RgbImage {
  const [, , height = 0, width = 0] = shape;
  const size = height * width;
  const bytes = new Uint8Array(3 * size);
  const from = index * 3 * size;
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < size; i++) {
      const share = (data as Float32Array)[from + c * size + i]! / 2 + 0.5;
      bytes[3 * i + c] = Math.round(Math.min(Math.max(share, 0), 1) * 255);
    }
  }
  return { width, height, data: bytes };
}

/** A picture as [1, 3, H, W]. */
export function fromPicture({ width, height, data }: RgbImage): FloatTensor {
  const size = width * height;
  const image = floatTensor([1, 3, height, width]);
  for (let c = 0; c < 3; c++) {
    for (let i = 0; i < size; i++) image.data[c * size + i] = (data[3 * i + c]! / 255) * 2 - 1;
  }
  return image;
}

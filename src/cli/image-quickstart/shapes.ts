/**
 * Small pictures drawn from formulas: what the embedded diffusion base has learned, and the styles that the quickstart
 * teaches it. Drawn here, so that nobody else's pictures are needed, captions are exact and every run sees the same ones.
 */

import type { RgbImage } from "../../files/png.ts";
import { type Random, randomStream } from "../../tensor/random.ts";

export type Style = "flat" | "ink" | "night";

export interface Scene {
  /** Names in the tables below. */
  readonly shape: string;
  readonly colour: string;
  readonly background: string;
  readonly size: string;
}

type Point = readonly [x: number, y: number];
export type Rgb = readonly [red: number, green: number, blue: number];
/** Signed distance to the shape's edge, negative inside; a shape fills about the unit circle, y grows downwards. */
type Distance = (x: number, y: number) => number;

const COLOURS: Readonly<Record<string, Rgb>> = {
  red: [222, 45, 45],
  orange: [245, 145, 25],
  yellow: [250, 215, 45],
  green: [50, 165, 75],
  blue: [40, 95, 220],
  purple: [140, 65, 190],
  pink: [245, 135, 185],
  brown: [130, 82, 45],
};

const BACKGROUNDS: Readonly<Record<string, Rgb>> = {
  white: [250, 250, 250],
  gray: [185, 185, 185],
  sky: [190, 222, 248],
};

const SIZES: Readonly<Record<string, number>> = { small: 0.55, large: 0.85 };

const SHAPES: Readonly<Record<string, Distance>> = {
  circle: (x, y) => Math.hypot(x, y) - 0.95,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.8,
  triangle: polygon(regular(3, 1.1)),
  hexagon: polygon(regular(6, 1)),
  star: polygon(
    Array.from({ length: 10 }, (_, i): Point => turned([0, i % 2 === 0 ? -1.1 : -0.46], (i * Math.PI) / 5)),
  ),
  heart: polygon(
    Array.from({ length: 48 }, (_, i): Point => {
      const t = (i * Math.PI) / 24;
      const y = 13 * Math.cos(t) - 5 * Math.cos(2 * t) - 2 * Math.cos(3 * t) - Math.cos(4 * t);
      return [Math.sin(t) ** 3, -(y + 2) / 16];
    }),
  ),
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.68) - 0.27,
  cross: (x, y) =>
    Math.min(Math.max(Math.abs(x) - 0.34, Math.abs(y) - 0.95), Math.max(Math.abs(x) - 0.95, Math.abs(y) - 0.34)),
  moon: (x, y) => Math.max(Math.hypot(x, y) - 0.95, 0.82 - Math.hypot(x - 0.5, y)),
  diamond: polygon([
    [0, -1.05],
    [0.72, 0],
    [0, 1.05],
    [-0.72, 0],
  ]),
};

/** Every scene once: 480. */
export const SCENES: readonly Scene[] = Object.keys(SHAPES).flatMap((shape) =>
  Object.keys(COLOURS).flatMap((colour) =>
    Object.keys(BACKGROUNDS).flatMap((background) =>
      Object.keys(SIZES).map((size) => ({ shape, colour, background, size })),
    ),
  ),
);

/** "a small red star on a white background" */
export function captionOf({ shape, colour, background, size }: Scene): string {
  return `a ${size} ${colour} ${shape} on a ${background} background`;
}

export interface Paints {
  readonly fill: Rgb;
  readonly ground: Rgb;
}

/** Draws a scene; place and turn are fixed by `seed`. `paints` may stand for the colours that it names. */
export function drawScene(
  scene: Scene,
  style: Style,
  pixels: number,
  seed: number,
  paints: Paints = { fill: COLOURS[scene.colour]!, ground: BACKGROUNDS[scene.background]! },
): RgbImage {
  const random = randomStream(seed, 0x5ce4e5);
  const scale = SIZES[scene.size]! * (0.92 + 0.16 * random.uniform());
  const room = 1 - scale * 0.95;
  const [cx, cy] = [shifted(random, room), shifted(random, room)];
  const angle = (random.uniform() - 0.5) * 0.5;
  const distance: Distance = SHAPES[scene.shape]!;
  const data = new Uint8Array(3 * pixels * pixels);
  const edge = 1.5 / pixels; // half of the band in which inside turns into outside
  for (let row = 0; row < pixels; row++) {
    for (let column = 0; column < pixels; column++) {
      const at: Point = [(2 * column + 1) / pixels - 1 - cx, (2 * row + 1) / pixels - 1 - cy];
      const [x, y] = turned(at, -angle);
      const d = scale * distance(x / scale, y / scale);
      data.set(paint(style, paints, d, edge).map(Math.round), 3 * (row * pixels + column));
    }
  }
  return { width: pixels, height: pixels, data };
}

/** The colour of a pixel at distance `d` from the edge. */
function paint(style: Style, { fill, ground }: Paints, d: number, edge: number): Rgb {
  const inside = share(-d, edge);
  switch (style) {
    case "flat":
      return blend(ground, fill, inside);
    case "ink": {
      // A black line of two pixels around nothing, on paper.
      const line = share(0.085 - Math.abs(d), edge);
      return blend([252, 250, 245], [15, 15, 20], line);
    }
    case "night": {
      // Light that leaves the shape and fades into a dark blue.
      const glow = Math.exp(-Math.max(d, 0) / 0.22) * 0.75;
      const lit = blend([12, 14, 52], fill, glow);
      return blend(lit, blend(fill, [255, 255, 255], 0.55), inside);
    }
  }
}

function share(d: number, edge: number): number {
  return Math.min(1, Math.max(0, 0.5 + d / (2 * edge)));
}

function blend(from: Rgb, to: Rgb, part: number): Rgb {
  const mixed = (i: 0 | 1 | 2): number => from[i] * (1 - part) + to[i] * part;
  return [mixed(0), mixed(1), mixed(2)];
}

function shifted(random: Random, room: number): number {
  return (2 * random.uniform() - 1) * Math.max(0, Math.min(0.3, room));
}

function turned([x, y]: Point, angle: number): Point {
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  return [x * cosine - y * sine, x * sine + y * cosine];
}

function regular(corners: number, radius: number): readonly Point[] {
  return Array.from({ length: corners }, (_, i) => turned([0, -radius], (2 * Math.PI * i) / corners));
}

/** Distance to a polygon: to its nearest side, with the sign of how often a ray crosses it. */
function polygon(corners: readonly Point[]): Distance {
  return (x, y) => {
    let nearest = Number.POSITIVE_INFINITY;
    let inside = false;
    corners.forEach(([ax, ay], i) => {
      const [bx, by] = corners[(i + 1) % corners.length]!;
      const [dx, dy] = [bx - ax, by - ay];
      const along = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)));
      nearest = Math.min(nearest, Math.hypot(x - ax - along * dx, y - ay - along * dy));
      if (ay > y !== by > y && x < ax + ((y - ay) / dy) * dx) inside = !inside;
    });
    return inside ? -nearest : nearest;
  };
}

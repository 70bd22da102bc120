import { expect, test } from "vitest";
import {
  byteSize,
  change,
  count,
  decimal,
  duration,
  listed,
  percent,
  short,
  significant,
} from "../../src/report/format.ts";
import { escapeHtml, html, page } from "../../src/report/html.ts";
import { nestingErrors } from "./nesting.ts";

const EVIL = `</title></style><script>alert("1")</script><img src=x onerror='alert(1)'>&amp;\u0000\ud800`;

test("values in templates are escaped, also inside attributes and lists; markup stands", () => {
  const document = page(EVIL, html`<p title="${EVIL}">${["<b>", html`<b>${1}</b>`, null]}</p>`);
  expect(nestingErrors(document)).toEqual([]);
  expect(document).not.toMatch(/<script|<img/);
  expect(document).toContain("&#60;b&#62;<b>1</b></p>");
});

test("an object from a file cannot pass for markup", () => {
  const fake = JSON.parse('{"markup":"<script>"}') as never;
  expect(page("", fake)).not.toContain("<script>");
});

test("control characters and lone surrogates become U+FFFD; lines, tabs and emoji stay", () => {
  expect(escapeHtml("a\u0000b\u001b[1m\ud83dc\r\nd\te 🌊")).toBe("a\ufffdb\ufffd[1m\ufffdc\nd\te 🌊");
});

test("the style reaches the page unescaped, and the policy forbids loading and scripts", () => {
  const document = page("a", "b");
  expect(document).toContain('"Segoe UI"');
  expect(document).toContain(".columns > div");
  expect(document).toContain("default-src 'none'");
});

test("numbers are written for readers", () => {
  expect([count(1234567), count(-3), count(0.5), count(Number.NaN)]).toEqual(["1,234,567", "−3", "0.5", "NaN"]);
  expect([decimal(3.21044), decimal(-0.00001), decimal(0), decimal(2.5e9)]).toEqual([
    "3.2104",
    "−1e−5",
    "0.0000",
    "2.5e9",
  ]);
  expect([decimal(Number.POSITIVE_INFINITY), decimal(Number.NEGATIVE_INFINITY)]).toEqual(["∞", "−∞"]);
  expect([significant(3.814e-6), significant(0.01234), significant(1234)]).toEqual(["3.81e−6", "0.0123", "1,230"]);
  expect([short(5_319_168), short(999_999), short(12)]).toEqual(["5.32\u00a0M", "1\u00a0M", "12"]);
  expect([byteSize(812), byteSize(397_512), byteSize(1.2e9)]).toEqual(["812\u00a0B", "398\u00a0kB", "1.2\u00a0GB"]);
  expect([duration(0.00042), duration(41.34), duration(59.99), duration(192.4), duration(7530)]).toEqual([
    "0.42\u00a0ms",
    "41.3\u00a0s",
    "1\u00a0min\u00a00\u00a0s",
    "3\u00a0min\u00a012\u00a0s",
    "2\u00a0h\u00a06\u00a0min",
  ]);
  expect([percent(0.00236), change(4, 3), change(3, 4), change(0, 1)]).toEqual([
    "0.236\u00a0%",
    "−25.0\u00a0%",
    "+33.3\u00a0%",
    "–",
  ]);
  expect([listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])]).toEqual(["a", "a and b", "a, b and c"]);
});

/** The page of runs: empty frames that its script fills, and a form to chat in. */

import { html, page } from "../report/html.ts";
import { LIVE_STYLE, siteLinks } from "./frame.ts";

/** `token` goes back with every request that does something, so that no other page can make one. */
export function uiPage(token: string): string {
  return page(
    "lowrank",
    html`<nav data-token="${token}">${siteLinks("/")}<h2>Runs</h2><div id="runs" aria-live="polite"></div></nav>
<article>
<div id="view"></div>
<section id="chat">
<h2>Chat</h2>
<p class="note" id="chatnote">The base and the chosen adapters answer beside each other.</p>
<form>
<label for="prompt" class="note">Prompt</label>
<textarea id="prompt" name="prompt" required></textarea>
<div class="row">
<button type="submit">Answer</button>
<label>Tokens <input type="number" name="maxTokens" value="64" min="1" max="2048"></label>
<label>Temperature <input type="number" name="temperature" value="0" min="0" max="2" step="0.1"></label>
<label><input type="checkbox" name="chat"> as a chat message</label>
</div>
</form>
<div id="answers" class="columns" aria-live="polite"></div>
</section>
</article>`,
    { scripts: ["/client.js"], style: LIVE_STYLE },
  );
}

/** What LangChain's ChatOpenAI reads from the server of the first argument, as JSON. The second is its API key. */

import { ChatOpenAI } from "@langchain/openai";

const [baseURL, apiKey] = process.argv.slice(2);
const chat = (options = {}) =>
  new ChatOpenAI({ model: "said", apiKey, temperature: 0, configuration: { baseURL }, ...options });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", function: { name: "weather", description: "of a city", parameters } };

const whole = await chat().invoke("hi");
let streamed = "";
for await (const { content } of await chat({ streamUsage: true }).stream("hi")) streamed += content;
const tools = chat().bindTools([weather]);
const called = await tools.invoke("hi");
const pieces = [];
for await (const piece of await tools.stream("hi")) pieces.push(piece);
const gathered = pieces.reduce((all, piece) => all.concat(piece));

const calls = ({ tool_calls }) => tool_calls.map(({ name, args }) => [name, args]);
console.log(
  JSON.stringify({
    text: whole.content,
    tokens: whole.usage_metadata.output_tokens,
    streamed,
    called: calls(called),
    streamedCalls: calls(gathered),
  }),
);

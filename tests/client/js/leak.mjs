// A program for fal's JavaScript client that goes on when its calls fail: once at its start, and once more for each
// line that it is given, it makes them all and prints how many succeeded of how many. With `no proxy`
// it forgets every proxy that it was told to use.
import https from "node:https";
import { createInterface } from "node:readline";
import { createFalClient } from "@fal-ai/client";

if (process.argv.includes("no proxy")) {
  for (const name of ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]) delete process.env[name];
  process.env.NO_PROXY = process.env.no_proxy = "*";
}

// All tries of the client in no time.
const wait = globalThis.setTimeout;
globalThis.setTimeout = (doing, milliseconds, ...given) => wait(doing, Math.min(milliseconds, 20), ...given);

const [endpoint, text] = process.argv.slice(2);
const input = JSON.parse(text);
const fal = createFalClient({ credentials: "an-id:a-secret" });
const agent = new https.Agent({ keepAlive: true });
let requestId = "none";

const answered = (url) => new Promise((resolve, reject) => {
  https.get(url, { agent, timeout: 10_000 }, (answer) => answer.resume().on("end", resolve)).on("error", reject);
});
const calls = [
  async () => ({ request_id: requestId } = await fal.queue.submit(endpoint, { input })),
  () => fal.queue.status(endpoint, { requestId }),
  () => fal.queue.streamStatus(endpoint, { requestId }).then((stream) => stream.done()),
  () => fal.subscribe(endpoint, { input, pollInterval: 20 }),
  () => fal.run(endpoint, { input }),
  () => fal.stream(endpoint, { input }).then((stream) => stream.done()),
  () => fal.storage.upload(new Blob(["hello"])),
  () => answered("https://queue.fal.run/fal-ai/ltx-2/requests/none/status"),
  () => answered("https://v3.fal.media/files/b/none/none"),
];

async function act() {
  let succeeded = 0;
  for (const call of calls) await call().then(() => succeeded++, () => {});
  console.log(JSON.stringify([succeeded, calls.length]));
}

await act();
for await (const _ of createInterface({ input: process.stdin })) await act();
process.exit(0);

// Every public method of fal's JavaScript client against one server, reached in one of four ways. Each row asserts what
// it sees; printed are the rows, with the fault of those that failed, and the members of the client that were used.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import * as exported from "@fal-ai/client";
import { asked, functions, noted, used } from "./noted.mjs";
import { fetched, storageRows } from "./storage_rows.mjs";

const { way, origin, endpoint, arguments: smallest, without, slots, large } = JSON.parse(process.argv[2]);
const app = endpoint.split("/").slice(0, 2).join("/");
const PATIENCE = 30_000;

// ---- The four ways

const PATHS = { "fal.run": "/run", "queue.fal.run": "/queue", "rest.fal.ai": "/rest", "api.fal.ai": "" };
const moved = (url) => {
  const { host, pathname, search } = new URL(url);
  return host in PATHS ? origin + PATHS[host] + pathname + search : url;
};
const proxyUrl = `${origin}/api/fal/proxy`;
const config = {
  fetch: { fetch: (url, options) => fetch(moved(url), options) },
  middleware: { requestMiddleware: async (request) => ({ ...request, url: moved(request.url) }) },
  proxy: { proxyUrl: { url: proxyUrl, when: "always" } },
  exec: {},
}[way];
const credentials = { credentials: "an-id:a-secret" };
console.warn = () => {};  // the client's own way to get tokens, which is used here, is worth a warning to it

const fal = noted("FalClient", functions.createFalClient({ ...config, ...credentials }));

// ---- What rows are made of

const input = (fields) => ({ ...smallest, ...fields });
const SLOW = { prompt: "slow" };  // a rule of the server has it wait for a minute
// Its steps are soon done, and then it writes 20 seconds of video: there is progress, and much time to leave.
const LONG = { num_inference_steps: 50, num_frames: 481, video_size: { width: 1280, height: 704 } };
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function isVideo(data, { width, height } = smallest.video_size) {
  assert.equal(data.video.content_type, "video/mp4");
  assert.deepEqual([data.video.width, data.video.height, data.video.num_frames], [width, height, smallest.num_frames]);
}

async function failure(doing) {
  try {
    await doing;
  } catch (error) {
    return error;
  }
  return assert.fail("it was to fail");
}

/** The status of a request that has ended. */
async function ended(requestId) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(30)) {
    const status = await fal.queue.status(endpoint, { requestId });
    if (status.status === "COMPLETED") return status;
  }
  return assert.fail(`request ${requestId} did not end`);
}

const isCancelled = async (requestId) => assert.equal((await ended(requestId)).error_type, "client_cancelled");

/** What the platform's list says of an ended request that fits. */
async function history(query, fits, patience = PATIENCE) {
  const url = `https://api.fal.ai/v1/models/requests/by-endpoint?endpoint_id=${endpoint}&expand=payloads&${query}`;
  for (const end = Date.now() + patience; Date.now() < end; await sleep(50)) {
    const direct = way === "exec" ? url : moved(url);
    const request = way === "proxy" ? [proxyUrl, { headers: { "x-fal-target-url": url } }] : [direct];
    const found = (await (await fetch(...request)).json()).items.find(fits);
    if (found) return found;
  }
  return undefined;
}

const png = Buffer.from(smallest.image_url.split(",")[1], "base64");
const picture = () => new Blob([png], { type: "image/png" });

// ---- The rows

const rows = {
  async run() {
    const storageSettings = { expiresIn: "1d" };
    const { data, requestId } = await fal.run(endpoint, { input: input(), storageSettings, startTimeout: 60 });
    isVideo(data);
    assert.match(requestId, /^[0-9a-f-]{36}$/);
    const file = await fetched(data.video.url);
    assert.equal(file.size, data.video.file_size);
    assert.ok(file.seconds > 86000 && file.seconds <= 86400, `${file.seconds}`);
  },

  async run_by_other_methods() {
    const query = { prompt: "x", image_url: smallest.image_url, video_size: "square", num_frames: 9 };
    isVideo((await fal.run(endpoint, { method: "get", input: query })).data, { width: 512, height: 512 });
    isVideo((await fal.run(endpoint, { method: "put", input: input() })).data);
  },

  async run_aborted() {
    const prompt = `slow, left by run through ${way}`;
    let left;
    // Nothing tells when the request has been sent; one that has not been leaves nothing behind.
    for (let wait = 200; left === undefined && wait < PATIENCE; wait *= 3) {
      const controller = new AbortController();
      const running = fal.run(endpoint, { input: input({ prompt }), abortSignal: controller.signal });
      setTimeout(() => controller.abort(), wait);
      assert.equal((await failure(running)).name, "AbortError");
      left = await history("status=user_error", (item) => item.json_input?.prompt === prompt, 5 * wait);
    }
    assert.equal(left?.status_code, 499);
  },

  async retries_on_504() {
    const { data } = await fal.run(endpoint, { input: input({ prompt: `once ${way}` }) });
    isVideo(data);
  },

  async errors() {
    const invalid = await failure(fal.run(endpoint, { input: input({ num_frames: -1 }) }));
    assert.ok(invalid instanceof exported.ValidationError && invalid instanceof exported.ApiError);
    const error = noted("ValidationError", invalid);
    assert.equal(error.status, 422);
    assert.ok(error.requestId);
    assert.deepEqual(error.fieldErrors[0].loc, ["body", "num_frames"]);
    assert.equal(error.getFieldErrors("num_frames").length, 1);
    assert.equal(error.getFieldErrors("prompt").length, 0);

    const queued = await failure(fal.subscribe(endpoint, { input: input({ num_frames: -1 }), pollInterval: 20 }));
    assert.ok(queued instanceof exported.ValidationError);
    assert.deepEqual(queued.body, invalid.body);

    const refused = await failure(fal.run(endpoint, { input: input({ prompt: "refused" }) }));
    assert.equal(refused.fieldErrors[0].type, "content_policy_violation");

    const broken = await failure(fal.run(endpoint, { input: input({ prompt: "broken" }) }));
    assert.ok(broken instanceof exported.ApiError && !(broken instanceof exported.ValidationError));
    assert.deepEqual([broken.name, broken.status, broken.message], ["ApiError", 500, "CUDA error"]);
    assert.equal(functions.isRetryableError(broken, [500]), true);
    assert.equal(functions.isRetryableError(invalid, [500]), false);

    const unknown = await failure(fal.run("fal-ai/unknown", { input: {} }));
    assert.deepEqual([unknown.status, unknown.body.detail], [404, "Application 'fal-ai/unknown' not found"]);
  },

  async start_deadline() {
    const submit = () => fal.queue.submit(endpoint, { input: input(SLOW) });
    const busy = await Promise.all(Array.from({ length: slots }, submit));
    // The client's own `startTimeout` is above a second.
    const headers = { "X-Fal-Request-Start-Timeout": "0.2" };
    const { request_id } = await fal.queue.submit(endpoint, { input: input(SLOW), headers });
    await ended(request_id);
    const error = noted("ApiError", await failure(fal.queue.result(endpoint, { requestId: request_id })));
    assert.deepEqual([error.status, error.timeoutType, error.isUserTimeout], [504, "user", true]);
    for (const each of busy) await fal.queue.cancel(endpoint, { requestId: each.request_id });
  },

  async subscribe_polling() {
    const updates = [];
    let enqueued;
    const { data, requestId } = await fal.subscribe(endpoint, {
      input: input({ image_url: picture() }), logs: true, pollInterval: 20, timeout: PATIENCE, startTimeout: 60,
      priority: "low", hint: "a-hint", headers: { "X-Fal-Tags": `way=${way}` }, storageSettings: { expiresIn: 3600 },
      onEnqueue: (id) => (enqueued = id), onQueueUpdate: (status) => updates.push(status),
    });
    isVideo(data);
    assert.equal(enqueued, requestId);
    assert.equal(updates.at(-1).status, "COMPLETED");
    assert.ok(functions.isQueueStatus(updates[0]) && functions.isCompletedQueueStatus(updates.at(-1)));
    assert.ok(updates.at(-1).logs.some(({ message }) => message.startsWith("mock engine, seed")));
    const recorded = await history(`request_id=${requestId}`, () => true);
    assert.deepEqual(recorded.tags, { way });
    assert.match(recorded.json_input.image_url, /\/files\/b\//, "the Blob was uploaded first");
    assert.ok((await fetched(data.video.url)).seconds <= 3600);
  },

  async subscribe_streaming() {
    const updates = [];
    const { data } = await fal.subscribe(endpoint, {
      input: input(), mode: "streaming", logs: true, onQueueUpdate: (status) => updates.push(status),
    });
    isVideo(data);
    assert.equal(updates.at(-1).status, "COMPLETED");
    const lines = updates.at(-1).logs.map(({ message, timestamp }) => timestamp + message);
    assert.equal(new Set(lines).size, lines.length, "the client adds up the logs of all events");
    assert.ok(lines.length > 1);
  },

  async subscribe_timed_out() {
    let id;
    const options = { input: input(SLOW), pollInterval: 20, timeout: 200, onEnqueue: (given) => (id = given) };
    assert.match((await failure(fal.subscribe(endpoint, options))).message, /timed out/);
    await isCancelled(id);
  },

  async subscribe_aborted() {
    const controller = new AbortController();
    let id;
    const running = fal.subscribe(endpoint, {
      input: input(SLOW), pollInterval: 20, abortSignal: controller.signal, onEnqueue: (given) => (id = given),
      onQueueUpdate: () => controller.abort(),
    });
    assert.equal((await failure(running)).name, "AbortError");
    // Whoever stops to look leaves the request alone.
    assert.notEqual((await fal.queue.status(endpoint, { requestId: id })).status, "COMPLETED");
    await fal.queue.cancel(endpoint, { requestId: id });
    await isCancelled(id);
  },

  async queue() {
    const submitted = await fal.queue.submit(endpoint, {
      input: input(), priority: "normal", hint: "a-hint", startTimeout: 60, headers: { "X-Fal-No-Retry": "1" },
    });
    const requestId = submitted.request_id;
    assert.equal(submitted.status, "IN_QUEUE");
    assert.equal(typeof submitted.queue_position, "number");
    const base = `${way === "exec" ? "https://queue.fal.run" : `${origin}/queue`}/${app}/requests/${requestId}`;
    const { response_url, status_url, cancel_url } = submitted;
    assert.deepEqual([response_url, status_url, cancel_url], [base, `${base}/status`, `${base}/cancel`]);
    const completed = await fal.queue.subscribeToStatus(endpoint, { requestId, logs: true, pollInterval: 20 });
    assert.equal(completed.metrics.inference_time > 0, true);
    const streamed = await fal.queue.subscribeToStatus(endpoint, { requestId, mode: "streaming" });
    assert.equal(streamed.status, "COMPLETED");
    assert.equal((await fal.queue.status(endpoint, { requestId })).logs, null);
    assert.ok((await fal.queue.status(endpoint, { requestId, logs: true })).logs.length > 1);
    const result = await fal.queue.result(endpoint, { requestId });
    isVideo(result.data);
    assert.equal(result.requestId, requestId);
    assert.equal((await failure(fal.queue.cancel(endpoint, { requestId }))).status, 400);
  },

  async queue_aborted() {
    const abortSignal = AbortSignal.abort();
    const options = { requestId: "none", abortSignal };
    for (const method of ["status", "result", "cancel"]) {
      assert.equal((await failure(fal.queue[method](endpoint, options))).name, "AbortError");
    }
    assert.equal((await failure(fal.queue.submit(endpoint, { input: input(), abortSignal }))).name, "AbortError");
  },

  async queue_cancel() {
    const { request_id: requestId } = await fal.queue.submit(endpoint, { input: input(SLOW) });
    const early = await failure(fal.queue.result(endpoint, { requestId }));
    assert.deepEqual([early.status, early.body.detail], [400, "Request is still in progress"]);
    assert.equal(await fal.queue.cancel(endpoint, { requestId }), undefined);
    await isCancelled(requestId);
    const gone = await failure(fal.queue.result(endpoint, { requestId }));
    assert.deepEqual([gone.status, gone.body.error_type], [499, "client_cancelled"]);
    for (const method of ["status", "result", "cancel"]) {
      const unknown = await failure(fal.queue[method](endpoint, { requestId: "none" }));
      assert.deepEqual([unknown.status, unknown.body], [404, { status: "NOT_FOUND" }]);
    }
  },

  async webhook() {
    let receive;
    const received = new Promise((resolve) => (receive = resolve));
    const receiver = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        response.end();
        receive({ ...JSON.parse(Buffer.concat(chunks)), signature: request.headers["x-fal-webhook-signature"] });
      });
    });
    await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    const webhookUrl = `http://127.0.0.1:${receiver.address().port}/hook?a=b`;
    const { request_id } = await fal.queue.submit(endpoint, { input: input(), webhookUrl });
    const told = await received;
    receiver.close();
    assert.deepEqual([told.request_id, told.gateway_request_id, told.status], [request_id, request_id, "OK"]);
    isVideo(told.payload);
    assert.match(told.signature, /^[0-9a-f]{128}$/);
  },

  async stream_status() {
    const { request_id: requestId } = await fal.queue.submit(endpoint, { input: input(), priority: "normal" });
    const stream = await fal.queue.streamStatus(endpoint, { requestId, logs: true });
    const events = [];
    stream.on("data", (event) => events.push(event));
    const last = await stream.done();
    assert.equal(stream.requestId, requestId);
    assert.deepEqual(last, events.at(-1));
    assert.equal(last.status, "COMPLETED");
    const lines = events.flatMap(({ logs }) => logs ?? []).map(({ message }) => message);
    assert.equal(lines.filter((line) => line.startsWith("mock engine, seed")).length, 1);
  },

  async stream_status_comes_as_it_happens() {
    const { request_id: requestId } = await fal.queue.submit(endpoint, { input: input(SLOW) });
    const stream = await fal.queue.streamStatus(endpoint, { requestId });
    // Of a request that runs for a minute yet: nothing on the way waits for its end.
    const first = await new Promise((resolve, reject) => { stream.on("data", resolve); stream.on("error", reject); });
    assert.notEqual(first.status, "COMPLETED");
    assert.equal(stream.signal.aborted, false);
    stream.abort();
    assert.equal(stream.signal.aborted, true);
    await stream.done();
    assert.notEqual((await fal.queue.status(endpoint, { requestId })).status, "COMPLETED");
    await fal.queue.cancel(endpoint, { requestId });
  },

  async stream() {
    const stream = await fal.stream(endpoint, { input: input({ image_url: picture() }), timeout: PATIENCE });
    const events = [];
    let done;
    stream.on("done", (data) => (done = data));
    for await (const event of stream) events.push(event);
    const percents = events.map(({ percent }) => percent).filter((percent) => percent !== undefined);
    assert.ok(percents.length > 0);
    assert.deepEqual(percents, percents.toSorted((a, b) => a - b));
    assert.deepEqual([await stream.done(), done], [events.at(-1), events.at(-1)]);
    isVideo(done);
    assert.equal((await ended(stream.requestId)).request_id, stream.requestId);
  },

  async stream_aborted() {
    const own = new AbortController();
    const ways = [[{}, (stream) => stream.abort("enough")], [{ signal: own.signal }, () => own.abort()]];
    for (const [options, abort] of ways) {
      const stream = await fal.stream(endpoint, { input: input(LONG), ...options });
      // Progress of work that goes on for seconds: the events are not held back, and leaving ends the work.
      await new Promise((resolve, reject) => {
        stream.on("data", ({ percent }) => percent > 0 && resolve());
        stream.on("error", reject);
      });
      abort(stream);
      assert.equal((await stream.done()).status, "IN_PROGRESS");
      await isCancelled(stream.requestId);
    }
  },

  async stream_refused() {
    const options = { input: input({ num_frames: -1 }), accept: "text/event-stream" };
    const stream = await fal.streaming.stream(endpoint, options);
    const error = await failure(stream.done());
    assert.ok(error instanceof exported.ValidationError);
    assert.equal(error.fieldErrors[0].loc[1], "num_frames");
  },

  ...storageRows(fal, { large, picture }),

  async functions() {
    // The proxy as a middleware among others, whatever the way.
    const seen = [];
    const requestMiddleware = functions.withMiddleware(
      async (request) => { seen.push(request.url); return request; },
      functions.withProxy({ targetUrl: proxyUrl, when: "always" }),
    );
    const proxied = functions.createFalClient({ requestMiddleware, ...credentials });
    isVideo((await proxied.run(endpoint, { input: input() })).data);
    assert.deepEqual(seen, [`https://fal.run/${endpoint}`]);
    const [owner, alias, path] = endpoint.split("/");
    assert.deepEqual(functions.parseEndpointId(endpoint), { owner, alias, path });
  },

  async singleton() {
    const single = noted("SingletonFalClient", exported.fal);
    single.config({ ...config, ...credentials });
    isVideo((await single.run(endpoint, { input: input() })).data);
  },

  // With a token instead of the key, straight from the client: not through a proxy or a middleware.
  async stream_with_token() {
    const stream = await fal.stream(endpoint, { input: input(), connectionMode: "client" });
    isVideo(await stream.done());
  },

  // Only where fal's names themselves lead to the server: the client knows no other URL.
  async realtime() {
    const results = [];
    const connection = await new Promise((resolve, reject) => {
      const opened = fal.realtime.connect(endpoint, {
        connectionKey: way, throttleInterval: 0, clientOnly: false,
        onResult: (result) => { results.push(result); resolve(opened); },
        onError: reject,
      });
      opened.send(input({ request_id: "mine" }));
    });
    connection.close();
    isVideo(results[0]);
  },
};

const report = {};
await Promise.all(
  Object.keys(rows).filter((name) => !without.includes(name)).map(async (name) => {
    try {
      const late = sleep(2 * PATIENCE).then(() => assert.fail("the row did not end"));
      await Promise.race([rows[name](), late]);
      report[name] = null;
    } catch (error) {
      report[name] = `${error.stack}\n${JSON.stringify(error.body ?? null)}`;
    }
  }),
);
console.log(JSON.stringify({ rows: report, used: [...used], asked: [...asked] }));
process.exit(0);  // what a row that failed has left open shall not be waited for

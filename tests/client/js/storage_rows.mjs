// The rows of the walk that send files.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openAsBlob } from "node:fs";

/** A file as it is read back: its bytes are hashed as they come. */
export async function fetched(url) {
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of answer.body) {
    hash.update(chunk);
    size += chunk.length;
  }
  const seconds = Number(/max-age=(\d+)/.exec(answer.headers.get("cache-control"))[1]);
  return { size, seconds, type: answer.headers.get("content-type"), digest: hash.digest("hex") };
}

const digestOf = (text) => createHash("sha256").update(text).digest("hex");

export const storageRows = (fal, { large, picture }) => ({
  async upload() {
    const text = "hello, world\n";
    const file = new File([text], "hello.txt", { type: "text/plain" });
    const named = await fal.storage.upload(file, { lifecycle: { expiresIn: "1h", initialAcl: { default: "allow" } } });
    assert.match(named, /hello\.txt$/);
    const found = await fetched(named);
    assert.deepEqual([found.digest, found.type], [digestOf(text), "text/plain"]);
    assert.ok(found.seconds <= 3600);
    for (const [expiresIn, least, most] of [["immediate", 0, 60], [7200, 7000, 7200]]) {
      const { seconds } = await fetched(await fal.storage.upload(new Blob([text]), { lifecycle: { expiresIn } }));
      assert.ok(seconds >= least && seconds <= most, `${expiresIn}: ${seconds}`);
    }
    const bare = await fetched(await fal.storage.upload(new Blob([])));
    assert.deepEqual([bare.size, bare.type], [0, "application/octet-stream"]);
  },

  async upload_in_parts() {
    const blob = await openAsBlob(large.path, { type: "application/zip" });
    assert.ok(blob.size > 90 * 1024 * 1024);
    const file = new File([blob], "large file.zip", { type: "application/zip" });
    const url = await fal.storage.upload(file, { lifecycle: { expiresIn: "1d" } });
    const found = await fetched(url);
    assert.deepEqual([found.digest, found.size, found.type], [large.digest, blob.size, "application/zip"]);
    assert.ok(found.seconds <= 86400);
  },

  async transform_input() {
    const image = picture();
    const given = { image, list: [{ file: new File(["deep"], "deep.txt", { type: "text/plain" }) }, 1], text: "x" };
    const found = await fal.storage.transformInput(given);
    assert.equal((await fetched(found.image)).digest, digestOf(Buffer.from(await image.arrayBuffer())));
    const [{ file }, number] = found.list;
    assert.equal((await fetched(file)).digest, digestOf("deep"));
    assert.match(file, /deep\.txt$/);
    assert.deepEqual([number, found.text], [1, "x"]);
  },
});

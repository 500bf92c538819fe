// Uploads, as fal's JavaScript client makes them.
import { ask } from "./http.js";

/** URL under which the server and any client of this key's can read `file` from now on. @param {Blob} file @param {string} name */
export async function upload(file, name) {
  const described = { file_name: name, content_type: file.type || "application/octet-stream" };
  const { file_url, upload_url } = await ask("/rest/storage/upload/initiate?storage_type=fal-cdn-v3", {
    method: "POST",
    body: described,
  });
  await ask(upload_url, {
    method: "PUT",
    raw: file,
    headers: { "content-type": described.content_type },
    anonymous: true,
  });
  return /** @type {string} */ (file_url);
}

/** The server reads the head and the tail of a file: settings stand in one of them. */
const WHOLE_BYTES = 1 << 20;
const PART_BYTES = 1 << 19;

/** How a video was made, from its metadata; raises Refused where it does not say. @param {File} file
 * @returns {Promise<{endpoint_id: string, model: string | null, input: Record<string, any>, served: boolean}>} */
export function embedded(file) {
  const whole = file.size <= WHOLE_BYTES;
  return ask(`/v1/embedded-settings${whole ? "" : `?head=${PART_BYTES}&size=${file.size}`}`, {
    method: "POST",
    raw: whole ? file : new Blob([file.slice(0, PART_BYTES), file.slice(-PART_BYTES)]),
    headers: { "content-type": "application/octet-stream" },
  });
}

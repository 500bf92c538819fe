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

// The fields of an endpoint, read from the OpenAPI document that the server serves.

/**
 * @typedef {"picture" | "prompt" | "text" | "choice" | "size" | "switch" | "number" | "list" | "json"} Kind
 * @typedef {{name: string, title: string, description: string, required: boolean, kind: Kind, whole: boolean,
 *   default: any, low?: number, high?: number, step: number, options: any[], unit: string, group: string,
 *   item?: Field[], placeholder: string}} Field
 * @typedef {{input: string, fields: Field[], about: string}} Schema
 */

const REFERENCE = "#/components/schemas/";

/** Fields that come first; the others are folded, under these headings. A field of no pattern stands under the last. */
const MAIN = /^(prompt|image_url|end_image_url|duration|resolution|aspect_ratio|video_size|num_frames|fps|frames_per_second|generate_audio|loras)$/;
/** @type {[string, RegExp][]} */
const GROUPS = [
  ["Sampling", /^(seed|num_inference_steps|guidance_scale|scheduler|acceleration|use_multiscale|use_restart_sampling|gradient_.*|distill_.*)$/],
  ["Prompt", /^(negative_prompt|enable_.*)$/],
  ["Pictures and camera", /(image_strength|interpolation_direction|camera_lora.*)$/],
  ["Guidance", /^(video|audio)_.*_scale$/],
  ["File", /^(video_.*|sync_mode)$/],
  ["More", /./],
];
export const MAIN_GROUP = "";
export const groups = GROUPS.map(([title]) => title);

/** @type {[RegExp, string][]} */
const UNITS = [
  [/^num_frames$/, "frames"],
  [/^(fps|frames_per_second)$/, "fps"],
  [/^num_inference_steps$/, "steps"],
  [/^duration$/, "s"],
];

/** @param {any} document @returns {Schema} */
export function readSchema(document) {
  const components = document.components.schemas;
  const body = Object.values(document.paths).find((path) => path.post).post.requestBody;
  const input = body.content["application/json"].schema.$ref.replace(REFERENCE, "");
  return {
    input,
    fields: fieldsOf(components[input], components),
    about: document.info["x-fal-metadata"]?.about ?? "",
  };
}

/** @param {any} component @param {any} components @returns {Field[]} */
function fieldsOf(component, components) {
  const order = component["x-fal-order-properties"] ?? Object.keys(component.properties);
  return order.map((/** @type {string} */ name) =>
    field(name, component.properties[name], (component.required ?? []).includes(name), components),
  );
}

/** @param {string} name @param {any} schema @param {boolean} required @param {any} components @returns {Field} */
function field(name, schema, required, components) {
  const item = schema.items?.$ref && fieldsOf(components[schema.items.$ref.replace(REFERENCE, "")], components);
  const branch = (schema.anyOf ?? [schema]).find((/** @type {any} */ each) => each.enum) ?? schema;
  return {
    name,
    // A picture may come as a file too.
    title: (schema.title ?? name).replace(/^(.*image) url$/i, "$1"),
    description: schema.description ?? "",
    required,
    kind: kind(name, schema, Boolean(item)),
    whole: schema.type === "integer",
    default: schema.default,
    low: schema.minimum,
    high: schema.maximum,
    step: schema.type === "integer" ? 1 : schema.maximum - schema.minimum <= 1 ? 0.01 : 0.1,
    options: branch.enum ?? [],
    unit: UNITS.find(([pattern]) => pattern.test(name))?.[1] ?? "",
    group: MAIN.test(name) || required ? MAIN_GROUP : (GROUPS.find(([, pattern]) => pattern.test(name))?.[0] ?? "More"),
    item,
    placeholder: name === "prompt" ? "What happens, what is heard, how the camera moves" : "",
  };
}

/** @param {string} name @param {any} schema @param {boolean} hasItems @returns {Kind} */
function kind(name, schema, hasItems) {
  if (hasItems) return "list";
  if (schema.anyOf) return schema.anyOf.some((/** @type {any} */ each) => each.$ref) ? "size" : "json";
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type !== "string") return "json";
  if (name.endsWith("image_url")) return "picture";
  return name.endsWith("prompt") ? "prompt" : "text";
}

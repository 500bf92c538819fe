// Loaded into Node before a program that runs under `stillmotion exec`: Node's fetch heeds no proxy variable, so its
// TLS connections to fal's names are sent to the local port that serves them. Everything else is left alone.
"use strict";
const tls = require("node:tls");

const port = Number(process.env.STILLMOTION_EXEC_TLS_PORT);
const names = new Set(JSON.parse(process.env.STILLMOTION_EXEC_NAMES || "[]"));
const connect = tls.connect;

const isFals = (host) => {
  if (typeof host !== "string") return false;
  const name = host.toLowerCase().replace(/\.$/, "");
  return names.has(name) || [...names].some((each) => each.startsWith("*.") && name.endsWith(each.slice(1)));
};

tls.connect = function (...given) {
  // Node's own forms: (options, callback), (port, host, options, callback), (port, options, callback).
  const [first] = given;
  const callback = given.find((each) => typeof each === "function");
  const options = Object.assign({}, ...given.filter((each) => each !== null && typeof each === "object"));
  if (typeof first !== "object") {
    options.port = first;
    if (typeof given[1] === "string") options.host = given[1];
  }
  const host = options.servername || options.host;
  if (!port || options.socket || !isFals(host)) return connect.apply(this, given);
  return connect.call(this, { ...options, host: "127.0.0.1", port, servername: host, lookup: undefined }, callback);
};

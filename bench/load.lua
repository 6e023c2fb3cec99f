-- The load that wrk makes: increments and reads of many counters, no two requests alike.
--
--   wrk … -s load.lua URL -- SEED COUNTERS [BODY_BYTES]
--
-- Half of them are reads, and the bodies of the others have 0 to 300 bytes; with BODY_BYTES all are POSTs of that size.
-- Paths, header sets and bodies are drawn once into a few thousand templates, so that wrk itself stays cheap;
-- each request gets an x-request-id of its own. The counters must exist (k0 … kN-1), so any status from 400 on
-- is an error. The last line printed is "WRK " and a JSON object: latencies in microseconds.

local TEMPLATES = 4099
-- Of large bodies there are fewer: they are to fit into memory.
local BODIES_BYTES_MAX = 64 * 1024 * 1024

local agents = {
  "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
  "python-requests/2.32.3",
  "curl/8.8.0",
  "okhttp/4.12.0",
  "Go-http-client/1.1",
}

local accepts = {
  "*/*",
  "application/json",
  "application/json, text/plain, */*",
  "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}

local languages = { "de-DE,de;q=0.9,en;q=0.8", "en-GB,en;q=0.5", "fr-CH, fr;q=0.9, *;q=0.5" }

local letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 {}[]:,\"'"

local function text(length)
  local out = {}
  for i = 1, length do
    local at = math.random(#letters)
    out[i] = letters:sub(at, at)
  end
  return table.concat(out)
end

local function hex(length)
  local out = {}
  for i = 1, length do out[i] = string.format("%x", math.random(0, 15)) end
  return table.concat(out)
end

local function pick(list) return list[math.random(#list)] end

local function template(host, counters, size)
  local post = size or math.random() < 0.5
  local head = {
    string.format("%s /counters/k%d HTTP/1.1", post and "POST" or "GET", math.random(0, counters - 1)),
    "Host: " .. host,
    "User-Agent: " .. pick(agents),
    "Accept: " .. pick(accepts),
  }
  if math.random() < 0.6 then head[#head + 1] = "Accept-Encoding: gzip, deflate, br" end
  if math.random() < 0.5 then head[#head + 1] = "Accept-Language: " .. pick(languages) end
  if math.random() < 0.4 then head[#head + 1] = "Cookie: session=" .. hex(32) .. "; theme=" .. pick({ "dark", "light" }) end
  if math.random() < 0.2 then head[#head + 1] = "Authorization: Bearer " .. hex(48) end
  if math.random() < 0.2 then head[#head + 1] = "traceparent: 00-" .. hex(32) .. "-" .. hex(16) .. "-01" end
  local body = ""
  if post then
    body = text(math.min(size or math.random(0, 300), 300))
    if size then body = body .. string.rep("x", size - #body) end
    head[#head + 1] = "Content-Type: " .. pick({ "text/plain", "application/json", "application/octet-stream" })
    head[#head + 1] = "Content-Length: " .. #body
  end
  return table.concat(head, "\r\n") .. "\r\nx-request-id: ", "\r\n\r\n" .. body
end

local heads, rests = {}, {}
local run, count, templates = "", 0, TEMPLATES

function init(args)
  local seed, counters, size = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  math.randomseed(seed)
  run = string.format("%08x-", seed)
  local host = wrk.host .. ":" .. wrk.port
  if size then templates = math.max(7, math.min(TEMPLATES, math.floor(BODIES_BYTES_MAX / math.max(size, 1)))) end
  for i = 1, templates do
    heads[i], rests[i] = template(host, counters, size)
  end
end

function request()
  count = count + 1
  local at = count % templates + 1
  return heads[at] .. run .. count .. rests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'WRK {"requests":%d,"duration_us":%d,"p50_us":%.0f,"p95_us":%.0f,"p99_us":%.0f,"max_us":%.0f,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end

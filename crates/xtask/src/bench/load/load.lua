-- Envelopes of 1 KiB for wrk. Arguments: `records` or `objects`, the beginning of every run id, whether runs are
-- `distinct` or all the `same`, and a token. At the end: a line of JSON.

local BYTES = 1024
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(args)
  to, first, runs, token = args[1], args[2], args[3], args[4]
  sent, created, ok, other = 0, 0, 0, 0
  head = '{"organization":"acme","project":"web","service":"build","run_id":"'
  middle = '","commit_sha":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b","generated_at":"2026-11-20T12:00:00Z","artifact":"'
  local rest = BYTES - #head - #run_id() - #middle - #'"}'
  tail = middle .. string.rep("0123456789abcdef", 64):sub(1, rest) .. '"}'
  headers = { ["Content-Type"] = "application/json" }
  if to == "records" then headers["Authorization"] = "Bearer " .. token end
end

-- Of the same length each time.
function run_id()
  return string.format("%s-%02d-%08d", first, number, runs == "same" and 0 or sent)
end

function request()
  sent = sent + 1
  local run = run_id()
  local body = head .. run .. tail
  if to == "objects" then
    -- Over a hundred directories, in which rclone is faster than in one.
    local key = string.format("/bench/runs-%02d/%s.json", sent % 100, run)
    return wrk.format("PUT", key, headers, body)
  end
  return wrk.format("POST", "/v1/records", headers, body)
end

function response(status)
  if status == 201 then
    created = created + 1
  elseif status == 200 then
    ok = ok + 1
  else
    other = other + 1
  end
end

function done(summary, latency)
  local sums = { created = 0, ok = 0, other = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
  end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '{"created":%d,"ok":%d,"other":%d,"lost":%d,"microseconds":%d,"p99_microseconds":%d}\n',
    sums.created, sums.ok, sums.other, lost, summary.duration, latency:percentile(99)))
end

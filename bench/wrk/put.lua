-- PUTs bodies to new paths. Usage: wrk -s put.lua URL -- PREFIX SUFFIX FIRST BYTES
-- The n-th path is PREFIX .. hex(FIRST + n) .. SUFFIX.
local prefix, suffix, nextNumber, body

function init(args)
  prefix, suffix, nextNumber = args[1], args[2], tonumber(args[3])
  body = string.rep("x", tonumber(args[4]))
  wrk.headers["Content-Type"] = "application/octet-stream"
end

function request()
  nextNumber = nextNumber + 1
  return wrk.format("PUT", prefix .. string.format("%x", nextNumber) .. suffix, nil, body)
end

function done(summary, latency)
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"bytes":%d,"errors":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end

-- Requests that were signed before, each line `path<TAB>authorization`, in turn.
-- Usage: wrk -s signed.lua URL -- FILE METHOD AMZ-DATE SHA256 BYTES HOST FIRST
local lines, headers, method, body, at = {}, {}, "GET", nil, 0

function init(args)
  for line in io.lines(args[1]) do lines[#lines + 1] = line end
  method = args[2]
  headers["x-amz-date"] = args[3]
  headers["x-amz-content-sha256"] = args[4]
  headers["Host"] = args[6]
  local bytes = tonumber(args[5])
  if bytes > 0 then body = string.rep("x", bytes) end
  at = tonumber(args[7])
end

function request()
  at = at % #lines + 1
  local path, authorization = string.match(lines[at], "([^\t]+)\t(.+)")
  headers["Authorization"] = authorization
  return wrk.format(method, path, headers, body)
end

function done(summary, latency)
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"bytes":%d,"errors":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end

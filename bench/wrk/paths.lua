-- Requests of one method to paths in turn, each line of PATHS one of them, with the same body.
-- Usage: wrk -s paths.lua URL -- PATHS METHOD [CONTENT-TYPE BODY-FILE]
local paths, headers, method, body, at = {}, {}, "GET", nil, 0

function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  method = args[2]
  if args[3] then headers["Content-Type"] = args[3] end
  if args[4] then
    local file = io.open(args[4], "rb")
    body = file:read("*a")
    file:close()
  end
end

function request()
  at = at % #paths + 1
  return wrk.format(method, paths[at], headers, body)
end

function done(summary, latency)
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"bytes":%d,"errors":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end

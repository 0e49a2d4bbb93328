-- For wrk: posts the bodies in the file BODIES, one a line, in a fixed order that looks random; prints a line of JSON.
local requests, number = {}, 0
local headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. (os.getenv("KEY") or "")}
function init(_)  -- before it wrk does not know the Host
  for line in io.lines(os.getenv("BODIES")) do
    requests[#requests + 1] = wrk.format("POST", os.getenv("REQUEST_PATH"), headers, line)
  end
end
function request()
  number = number + 1
  return requests[(number * 7919) % #requests + 1]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"failed":%d,"p50_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, summary.duration, e.status + e.timeout + e.connect + e.read + e.write,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end

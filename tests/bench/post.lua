-- Posts the deliveries of a file made by tests/bench/workload.py: per line the signature, a tab and the body.
local requests, next_request, threads = {}, 0, 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  local file = assert(io.open(args[1], "r"))
  local place, count = 0, tonumber(args[2])
  for line in file:lines() do
    if place % count == number then
      local tab = line:find("\t", 1, true)
      requests[#requests + 1] = wrk.format("POST", args[3], {
        ["Content-Type"] = "application/json",
        ["X-Hub-Signature-256"] = line:sub(1, tab - 1),
      }, line:sub(tab + 1))
    end
    place = place + 1
  end
  file:close()
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end

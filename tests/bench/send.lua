-- Posts messages to one person after the other, as an application sends them through a proxy.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer token"
local head, tail = '{"messaging_product":"whatsapp","to":"1555', '","type":"text","text":{"body":"hello"}}'
local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("person", threads * 1000000)
end
function request()
  person = person + 1
  return wrk.format(nil, nil, nil, head .. string.format("%07d", person) .. tail)
end
function done(summary, latency)
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end

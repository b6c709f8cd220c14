-- For wrk: posts a file as JSON, again and again, and ends with a line that load.py reads.
-- Arguments: the file with the body, the API key.

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   wrk.method = "POST"
   wrk.body = file:read("*a")
   file:close()
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["x-api-key"] = arguments[2]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format("FIGURES %d %d %d %d %d %d %d", summary.duration, summary.requests,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
   for i = 1, #latency do
      local microseconds, count = latency(i)
      io.write(string.format(" %d:%d", microseconds, count))
   end
   io.write("\n")
end

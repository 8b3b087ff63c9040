-- What wrk sends. The environment says it: a "mode", how many URLs, which fields.
--   cycle   BENCH_COUNT URLs, one after another
--   unique  URLs that nobody has asked for before
--   spread  BENCH_COUNT URLs in an order without neighbours
--   traced  like cycle, with one field that differs in every request, so that no two heads are alike
-- BENCH_TOKENS names a file with one bearer token a line; request n carries token n modulo their number.
local mode = os.getenv("BENCH_MODE") or "cycle"
local count = tonumber(os.getenv("BENCH_COUNT") or "64")
local method = os.getenv("BENCH_METHOD") or "GET"
local path = os.getenv("BENCH_PATH") or "/items/"
local prefix = os.getenv("BENCH_PREFIX") or ""
local body = os.getenv("BENCH_BODY") or ""
local fields = (os.getenv("BENCH_FIELDS") or ""):gsub("\n", "\r\n")
local ready, number = {}, 0

local function tokens()
   local found = {}
   local name = os.getenv("BENCH_TOKENS")
   if name then
      for line in io.lines(name) do found[#found + 1] = "Authorization: Bearer " .. line .. "\r\n" end
   end
   if #found == 0 then found[1] = "" end
   return found
end

local function head(target, more)
   local length = body ~= "" and ("Content-Length: " .. #body .. "\r\nContent-Type: application/json\r\n") or ""
   return method .. " " .. target .. " HTTP/1.1\r\n" .. fields .. more .. length .. "\r\n" .. body
end

function init()
   local all = tokens()
   if mode ~= "cycle" then return end
   for token = 1, #all do
      for n = 0, count - 1 do ready[#ready + 1] = head(path .. prefix .. n, all[token]) end
   end
end

function request()
   number = number + 1
   if mode == "cycle" then return ready[(number - 1) % #ready + 1] end
   if mode == "unique" then return head(path .. prefix .. number, "") end
   if mode == "spread" then return head(path .. prefix .. string.format("%d", number * 7919 % count), "") end
   local trace = string.format("traceparent: 00-%032x-%016x-01\r\n", number * 2654435761 % 2 ^ 52, number)
   return head(path .. prefix .. (number - 1) % count, trace)
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'BENCH {"requests":%d,"seconds":%.6f,"bytes":%d,"p50":%d,"p99":%d,"failed":%d,"broken":%d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

-- What wrk sends. The environment says it.
-- BENCH_MODE, the order of the URLs, of which there are BENCH_COUNT:
--   cycle   one after another
--   unique  URLs that nobody has asked for before
--   spread  in an order without neighbours
--   zipf    the n-th with probability 1 / n ^ 0.9
-- BENCH_FIRST: how many requests were sent by runs before this one.
-- BENCH_FRESH=1: heads never repeat. Each request has its own X-Request-ID, traceparent and X-Forwarded-For, and one
-- of the lines in the files BENCH_AGENTS and BENCH_LANGUAGES.
-- In BENCH_SHARE percent of the requests: one of the bearer tokens in the file BENCH_TOKENS.
-- In BENCH_CONDITIONAL percent: If-None-Match with BENCH_TAG. BENCH_COOKIES=1: cookies, different each time.
-- In BENCH_POSTS percent: a POST instead.
local function env(name, default) return os.getenv("BENCH_" .. name) or default end
local function percent(name, default) return tonumber(env(name, default)) end

local mode, count, method = env("MODE", "cycle"), tonumber(env("COUNT", "64")), env("METHOD", "GET")
local path, body = env("PATH", "/items/") .. env("PREFIX", ""), env("BODY", "")
local fields = env("FIELDS", ""):gsub("\n", "\r\n")
local fresh, cookies = env("FRESH", "") == "1", env("COOKIES", "") == "1"
local share, conditional, posts = percent("SHARE", "100"), percent("CONDITIONAL", "0"), percent("POSTS", "0")
local condition = 'If-None-Match: ' .. env("TAG", "") .. "\r\n"
local framing = "Content-Length: " .. #body .. "\r\nContent-Type: application/json\r\n"
local POST_BODY = '{"name":"item"}'
local POST_FRAMING = "Content-Length: " .. #POST_BODY .. "\r\nContent-Type: application/json\r\n"

-- Tables of ready pieces: to format numbers for each request would cost more than the request does.
local HEX, MIXED = 4096, 65536
local hex, spread, agents, languages, tokens, order, ready = {}, {}, {}, {}, {}, {}, {}
local number = tonumber(env("FIRST", "0"))

local function lines(name, before)
   local found, file = {}, os.getenv("BENCH_" .. name)
   if file then
      for line in io.lines(file) do found[#found + 1] = before .. line .. "\r\n" end
   end
   if #found == 0 then found[1] = "" end
   return found
end

local function zipf()
   local sums, total = {}, 0
   for n = 1, count do
      total = total + 1 / n ^ 0.9
      sums[n] = total
   end
   for n = 0, 16 * MIXED - 1 do
      local at, low, high = math.random() * total, 1, count
      while low < high do
         local middle = math.floor((low + high) / 2)
         if sums[middle] < at then low = middle + 1 else high = middle end
      end
      order[n] = low - 1
   end
end

local function target(n)
   if mode == "unique" then return path .. n end
   if mode == "spread" then return path .. string.format("%d", n * 7919 % count) end
   if mode == "zipf" then return path .. order[n % (16 * MIXED)] end
   return path .. (n - 1) % count
end

local function own(n)
   local low, high, some = hex[n % HEX], hex[math.floor(n / HEX) % HEX], spread[n % MIXED]
   local more = "X-Request-ID: " .. some .. high .. low .. "\r\ntraceparent: 00-" .. low .. some .. high .. "000000-"
      .. some .. low .. "f-01\r\nX-Forwarded-For: 10." .. n % 251 .. "." .. math.floor(n / 251) % 253 .. "." .. n % 241
      .. "\r\n" .. agents[n * 7 % #agents + 1] .. languages[n * 11 % #languages + 1]
   if cookies then more = more .. "Cookie: _ga=GA1.2." .. some .. low .. "; _gid=GA1.2." .. high .. low .. "\r\n" end
   return more
end

function init()
   math.randomseed(1)
   agents, languages = lines("AGENTS", "User-Agent: "), lines("LANGUAGES", "Accept-Language: ")
   tokens = lines("TOKENS", "Authorization: Bearer ")
   for n = 0, HEX - 1 do hex[n] = string.format("%03x", n) end
   for n = 0, MIXED - 1 do spread[n] = string.format("%06x%06x", math.random(0, 0xffffff), math.random(0, 0xffffff)) end
   if mode == "zipf" then zipf() end
   if fresh or mode ~= "cycle" then return end
   for token = 1, #tokens do
      for n = 1, count do
         ready[#ready + 1] = method .. " " .. target(n) .. " HTTP/1.1\r\n" .. fields .. agents[1] .. languages[1]
            .. tokens[token] .. (body ~= "" and framing or "") .. "\r\n" .. body
      end
   end
end

function request()
   number = number + 1
   local n = number
   if #ready > 0 then return ready[(n - 1) % #ready + 1] end
   local more = fresh and own(n) or agents[1] .. languages[1]
   local chance = n * 61 % 100
   if chance < share then more = more .. tokens[(n * 13 + math.floor(n / 100) * 7) % #tokens + 1] end
   if (chance + 50) % 100 < conditional then more = more .. condition end
   if (chance + 25) % 100 < posts then
      return "POST " .. target(n) .. " HTTP/1.1\r\n" .. fields .. more .. POST_FRAMING .. "\r\n" .. POST_BODY
   end
   if body ~= "" then more = more .. framing end
   return method .. " " .. target(n) .. " HTTP/1.1\r\n" .. fields .. more .. "\r\n" .. body
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'BENCH {"requests":%d,"seconds":%.6f,"bytes":%d,"p50":%d,"p99":%d,"failed":%d,"broken":%d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

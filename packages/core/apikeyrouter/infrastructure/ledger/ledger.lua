-- The shared ledger: a batch of orders over accounts, carried out in one step.
--
-- KEYS[1]: the live processes, by the instant at which each is taken for dead.
-- KEYS[2..]: accounts, each one value. All names bear one hash tag.
-- ARGV[1]: MessagePack of {process, seconds to live, known version by account, orders}.
--
-- Instants are the server's, in seconds; in and out go lengths of time alone. Values are
-- MessagePack: numbers written as text would lose digits, and those that a script returns
-- would lose their fractions.
local EPSILON, KEPT_LOWS, KEPT_ENTRIES = 1e-6, 64, 256
local DRIFT_MEMORY, OWN_SHARE, LOOK_EVERY, IDLE = 15, 0.1, 0.25, 3600
local RAMP_PATIENCE, RAMP_PER_S = 1, 8

-- Servers before Redis 7 replicate scripts by their text unless told to replicate their effects.
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local process, ttl, known, orders = unpack(cmsgpack.unpack(ARGV[1]))
local seen_until = redis.call('ZSCORE', KEYS[1], process)
local is_fresh = not seen_until or tonumber(seen_until) < now
redis.call('ZADD', KEYS[1], string.format('%.6f', now + ttl), process)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(ttl * 1000) + 60000)

local alive
local function is_alive(name)
  if not alive then
    alive = {}
    for _, one in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do alive[one] = true end
  end
  return alive[name]
end

-- Windows: b refills continuously, f empties at an instant, r counts the period just past,
-- c counts calls at once, m is a c that grows with time.
local function rate_of(w) return w.k == 'b' and w.c / w.p or 0 end

local function calls_of(account)
  local calls = 0
  for _, held in pairs(account.calls) do calls = calls + held end
  return calls
end

local function refill(w)
  if w.k == 'b' then
    local elapsed = now - w.a
    if elapsed > 0 then
      local rate = rate_of(w)
      local net = math.max(rate - w.dr, OWN_SHARE * rate)
      w.u = math.max(0, w.u - elapsed * net)
      w.a = now
      if w.dr > 0 then w.co = w.co + elapsed * (rate - net) end
    end
  elseif w.k == 'f' then
    if w.ra > 0 and now >= w.ra then
      w.u, w.e = 0, w.e + 1
      w.ra = w.ra + (math.floor((now - w.ra) / w.p) + 1) * w.p
    end
  elseif w.k == 'r' then
    local en = w.en
    while en[1] and en[1][2] + w.p <= now do
      w.u = w.u - en[1][3]
      table.remove(en, 1)
    end
    if not en[1] then w.u = 0 end
  end
end

local function is_calls(w) return w.k == 'c' or w.k == 'm' end

local function room(account, w)
  refill(w)
  if not is_calls(w) then return w.c - w.u end
  local grown = 0
  if w.k == 'm' and not w.met then grown = math.max(0, now - w.ba - RAMP_PATIENCE) * RAMP_PER_S end
  return w.c + grown - calls_of(account)
end

local function slack(w, amount)
  if w.k ~= 'b' then return 0 end
  return math.min(rate_of(w) * w.j + w.m, math.max(0, w.c - amount))
end

-- Below zero: time alone does not help.
local function fits_in(account, w, amount)
  local short = amount + slack(w, amount) - room(account, w)
  if short <= EPSILON then return 0 end
  if w.k == 'm' and not w.met then
    return math.max(0, w.ba + RAMP_PATIENCE - now) + short / RAMP_PER_S
  end
  if is_calls(w) or amount > w.c + EPSILON then return -1 end
  if w.k == 'b' then
    local rate = rate_of(w)
    return short / math.max(rate - w.dr, OWN_SHARE * rate)
  end
  if w.k == 'f' then return w.ra - now end
  for _, entry in ipairs(w.en) do
    short = short - entry[3]
    if short <= EPSILON then return entry[2] + w.p - now end
  end
  return w.p
end

local function note_low(w, level)
  local lows = w.lo
  while lows[1] and lows[#lows][2] >= level do table.remove(lows) end
  w.q = w.q + 1
  lows[#lows + 1] = {w.q, level}
  if #lows > KEPT_LOWS then
    lows[2] = {lows[2][1], lows[1][2]}
    table.remove(lows, 1)
  end
end

local function take(w, amount)
  refill(w)
  w.ch = w.ch + amount
  if is_calls(w) then return 0 end
  if w.k == 'b' then
    note_low(w, w.u)
    w.u = w.u + amount
    return w.q
  end
  w.u = w.u + amount
  if w.k == 'f' then
    if w.ra <= 0 then w.ra = now + w.p end
    return w.e
  end
  local en = w.en
  if #en >= KEPT_ENTRIES and now - en[#en][2] < w.p / KEPT_ENTRIES then
    en[#en][2], en[#en][3] = now, en[#en][3] + amount
  else
    w.q = w.q + 1
    en[#en + 1] = {w.q, now, amount}
  end
  return w.q
end

local function give_back(w, amount, mark)
  refill(w)
  local left = 0
  if w.k == 'b' then
    left = w.u
    for _, low in ipairs(w.lo) do
      if low[1] > mark then left = math.min(left, low[2]) break end
    end
  elseif w.k == 'f' then
    if mark == w.e then left = w.u end
  elseif w.k == 'r' then
    for _, entry in ipairs(w.en) do
      if entry[1] == mark then
        left = entry[3]
        entry[3] = left - math.min(amount, left)
        break
      end
    end
  end
  amount = math.min(amount, left)
  w.u, w.re = w.u - amount, w.re + amount
  if w.k == 'b' then note_low(w, w.u) end
end

local function move_to(w, used)
  if w.k == 'b' then
    w.u = used
    local lows = w.lo
    if lows[1] and used < lows[#lows][2] then note_low(w, used) end
    return
  end
  if w.k == 'r' then
    if used > w.u then
      w.q = w.q + 1
      w.en[#w.en + 1] = {w.q, now, used - w.u}
    else
      local surplus = w.u - used
      for _, entry in ipairs(w.en) do
        local part = math.min(surplus, entry[3])
        entry[3], surplus = entry[3] - part, surplus - part
      end
    end
  end
  w.u = used
end

local function sum(amounts)
  local total = 0
  for _, amount in pairs(amounts) do total = total + amount end
  return total
end

local function note_drift(w, correction)
  if w.p <= 0 then return end
  if correction ~= 0 then
    w.dr = w.dr + correction / DRIFT_MEMORY
  elseif w.dr < w.c * 1e-5 then
    w.dr = 0
  else
    w.dr = w.dr * math.exp(-math.max(0, now - w.ob) / DRIFT_MEMORY)
  end
  w.dr = math.max(0, w.dr)
end

-- The same as Window.observe, over what all processes have sent and have under way.
local function observe(w, low, high, charged_after, age)
  refill(w)
  local refilled = rate_of(w) * age
  local since = charged_after >= 0 and math.max(0, w.ch - charged_after) or 0
  low = math.max(0, low - refilled)
  high = math.max(low, high + math.max(0, since - refilled, sum(w.un)))
  local before, is_first = w.u, w.ob == 0
  if is_first and not w.declared then
    move_to(w, high)
    w.ob = now
    return 0
  end
  if before < low then move_to(w, low) elseif before > high then move_to(w, high) end
  local correction = w.u - before
  w.co = w.co + correction
  if correction < 0 then w.di = w.di - correction end
  if not is_first then note_drift(w, correction) end
  w.ob = now
  return correction
end

local function bury(account)
  if now - account.looked < LOOK_EVERY then return end
  account.looked = now
  local dead = {}
  for name in pairs(account.calls) do if not is_alive(name) then dead[name] = true end end
  for _, w in pairs(account.w) do
    for name in pairs(w.d) do if not is_alive(name) then dead[name] = true end end
    for name in pairs(w.un) do if not is_alive(name) then dead[name] = true end end
  end
  for name in pairs(dead) do
    account.calls[name] = nil
    for _, w in pairs(account.w) do w.un[name], w.d[name] = nil, nil end
  end
  -- What nobody alive has guessed holds nobody back.
  for wid, w in pairs(account.w) do
    if w.guess and not next(w.d) then account.w[wid], account.v = nil, account.v + 1 end
  end
end

-- A clock that was set back, or a replica's that is behind, shortens no window.
local function shift(account, by)
  account.looked = 0
  for wid, at in pairs(account.gone) do account.gone[wid] = at - by end
  for _, w in pairs(account.w) do
    w.a, w.ba = w.a - by, w.ba - by
    if w.t > 0 then w.t = w.t - by end
    if w.ob > 0 then w.ob = w.ob - by end
    if w.ra > 0 then w.ra = w.ra - by end
    for _, entry in ipairs(w.en) do entry[2] = entry[2] - by end
  end
end

local accounts = {}
local function account_at(place)
  local account = accounts[place]
  if account then return account end
  local text = redis.call('GET', KEYS[place + 1])
  if text then
    account = cmsgpack.unpack(text)
    if account.at > now then shift(account, account.at - now) end
    bury(account)
  else
    account = {
      born = clock[1] .. '.' .. clock[2], v = 1, adm = 0, looked = now,
      calls = {}, w = {}, gone = {},
    }
  end
  account.at = now
  accounts[place] = account
  return account
end

-- What lacks room the longest, or nothing.
local function shortfall(account, amounts, past_guesses)
  local found
  for wid, w in pairs(account.w) do
    local amount = amounts[w.dim + 1]
    local is_guess = w.k == 'm' and not w.met or w.k ~= 'm' and w.guess
    if amount > 0 and not (past_guesses and is_guess) then
      local left = room(account, w)
      if amount + slack(w, amount) > left + EPSILON then
        local fits = fits_in(account, w, amount)
        if not found or found[3] >= 0 and (fits < 0 or fits > found[3]) then
          found = {wid, left, fits}
        end
      end
    end
  end
  return found
end

local function charge(account, amounts)
  local marks = {}
  for wid, w in pairs(account.w) do
    local amount = amounts[w.dim + 1]
    if amount > 0 then
      local mark = take(w, amount)
      if not is_calls(w) then w.un[process] = (w.un[process] or 0) + amount end
      marks[wid] = {mark, w.ch}
    end
  end
  account.calls[process] = (account.calls[process] or 0) + 1
  account.adm = account.adm + 1
  return marks
end

local function admit(lines, past_guesses)
  for line, asked in ipairs(lines) do
    local lack = shortfall(account_at(asked[1]), asked[2], past_guesses)
    if lack then return {0, line, lack[1], lack[2], lack[3]} end
  end
  local all = {}
  for line, asked in ipairs(lines) do all[line] = charge(account_at(asked[1]), asked[2]) end
  return {1, all}
end

local function confirm(account, marks, asked)
  for wid in pairs(marks) do
    local w = account.w[wid]
    if w and w.un[process] then
      local left = w.un[process] - asked[w.dim + 1]
      w.un[process] = left > EPSILON and left or nil
    end
  end
end

local function settle(account, marks, asked, actual, is_confirmed, is_unsent)
  if not is_confirmed then confirm(account, marks, asked) end
  local calls = account.calls[process]
  if calls then account.calls[process] = calls > 1 and calls - 1 or nil end
  if is_unsent then account.adm = account.adm - 1 end
  for wid, mark in pairs(marks) do
    local w = account.w[wid]
    if w and not is_calls(w) then
      local surplus = asked[w.dim + 1] - actual[w.dim + 1]
      if surplus > 0 then give_back(w, surplus, mark[1]) elseif surplus < 0 then take(w, -surplus) end
    end
  end
end

local function least_declared(w)
  local least
  for _, capacity in pairs(w.d) do least = math.min(least or capacity, capacity) end
  return least or w.c
end

-- What was observed last counts; of what was only declared the least that a live process has.
local function define(account, wid, told, age, seed)
  local w, at = account.w[wid], age >= 0 and now - age or 0
  if account.gone[wid] and account.gone[wid] >= at then return end
  if not w then
    w = {
      dim = told.dim, a = now, ba = now, u = seed.u or 0, e = 0, q = 0, ra = 0, ch = 0, re = 0,
      co = 0, di = 0, un = {}, d = {}, lo = {}, en = {}, dr = 0, ob = seed.ob and now or 0, t = -1,
      c = told.c,
    }
    for _, entry in ipairs(seed.en or {}) do
      w.q = w.q + 1
      w.en[#w.en + 1] = {w.q, now - entry[1], entry[2]}
    end
    account.w[wid], account.gone[wid] = w, nil
  end
  if told.guess or (at == 0 and told.declared) then w.d[process] = told.c end
  local is_news = at > w.t
  if is_news then
    refill(w)
    if w.k and w.k ~= told.k then
      -- Marks of the other kind are worth nothing now.
      w.e, w.q = math.max(w.e, w.q) + 1, math.max(w.e, w.q) + 1
      w.lo, w.en, w.a = {}, {}, now
      if told.k == 'r' and w.u > 0 then w.en = {{w.q, now, w.u}} end
    end
    w.k, w.c, w.p, w.j, w.m, w.t = told.k, told.c, told.p, told.j, told.m, at
    w.x, w.met, w.declared, w.guess = told.x, told.met, told.declared, told.guess
    if told.begun then w.ba = now - told.begun end
    if told.reset then w.ra = now + told.reset end
  end
  local before = w.c
  if w.t == 0 then w.c = least_declared(w) end
  if is_news or w.c ~= before then account.v = account.v + 1 end
end

local function drop(account, wid, age)
  local w = account.w[wid]
  if w and now - age > w.t then
    account.w[wid], account.gone[wid] = nil, now - age
    account.v = account.v + 1
  end
end

local results = {}
local carry_out = {
  function(order) results[#results + 1] = admit(order[2], order[3]) end,
  function(order) settle(account_at(order[2]), unpack(order, 3)) end,
  function(order) confirm(account_at(order[2]), order[3], order[4]) end,
  function(order)
    local w = account_at(order[2]).w[order[3]]
    results[#results + 1] = w and observe(w, order[4], order[5], order[6], order[7]) or 0
  end,
  function(order) define(account_at(order[2]), unpack(order, 3)) end,
  function(order) drop(account_at(order[2]), order[3], order[4]) end,
  function(order)
    local account = account_at(order[2])
    account.calls[process] = order[3] > 0 and order[3] or nil
    for _, w in pairs(account.w) do w.un[process] = nil end
  end,
  function(order)
    for _, w in pairs(account_at(order[2]).w) do
      if not is_calls(w) and order[3][w.dim + 1] > 0 then take(w, order[3][w.dim + 1]) end
    end
  end,
}
for _, order in ipairs(orders) do carry_out[order[1]](order) end

local function figures_of(account)
  local figures = {}
  for wid, w in pairs(account.w) do
    refill(w)
    local used = is_calls(w) and calls_of(account) or w.u
    local reset = w.ra > 0 and w.ra - now or 0
    figures[wid] = {used, w.ch, w.re, w.co, w.di, sum(w.un), reset, w.dr, w.ob > 0}
  end
  return figures
end

local function definitions_of(account)
  local all = {}
  for wid, w in pairs(account.w) do
    local entries
    if w.k == 'r' then
      entries = {}
      for n, entry in ipairs(w.en) do entries[n] = {now - entry[2], entry[3]} end
    end
    all[wid] = {
      dim = w.dim, k = w.k, c = w.c, p = w.p, j = w.j, m = w.m, x = w.x, met = w.met,
      declared = w.declared, guess = w.guess, begun = now - w.ba, en = entries,
      age = w.t > 0 and now - w.t or -1,
    }
  end
  return all
end

local told = {}
for place = 1, #KEYS - 1 do
  local account = account_at(place)
  local longest = 0
  for _, w in pairs(account.w) do longest = math.max(longest, w.p) end
  local definitions = known[place] ~= account.v and definitions_of(account) or nil
  told[place] = {
    account.born, account.v, account.adm, calls_of(account), figures_of(account), definitions,
  }
  redis.call('SET', KEYS[place + 1], cmsgpack.pack(account), 'PX',
    math.ceil((2 * longest + IDLE) * 1000))
end
return cmsgpack.pack({is_fresh, redis.call('ZCARD', KEYS[1]), results, told})

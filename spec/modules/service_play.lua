-- Playbooks for the specs of services: `of(prelude)` plays steps and gates after it.
local t = require "spec.helper"

return function(prelude, env)
    local play = {}

    local function text_of(body)
        return prelude .. "\n" .. body
    end

    function play.run(body)
        return t.play(text_of(body), { env = env })
    end

    -- What the body of a step returned, or nil and the error; then the run.
    function play.step(body)
        return t.outcome(play.run(('return step("it", function() %s end)'):format(body)))
    end

    function play.gate(body)
        return play.run(('gate("it", function() %s end)'):format(body))
    end

    -- The first expectation of a gate's check; then the run.
    function play.checked(body)
        local result, found = play.gate(body), nil
        for _, event in ipairs(result.events) do
            found = event.type == "check" and event.payload or found
        end
        assert(found, result.out .. result.err)
        return found.expectations[1], result
    end

    -- What a plan says about a step with that body.
    function play.plan(body)
        local path, folder = t.playbook(text_of(('step("it", function() %s end)'):format(body)))
        local result = t.host { "plan", path, cwd = folder, state = folder .. "/state", env = env }
        assert(result.code == 0, result.out .. result.err)
        return result.out
    end

    -- A step whose host is killed while the stand-in, which has acted upon the first request that `held` means, does not answer;
    -- then the end of its resumption.
    function play.killed(service, held, body)
        local path, folder = t.playbook(text_of(('step("it", function() return %s end)'):format(body)))
        local state = folder .. "/state"
        local handler, acted = service.handler, false
        service.handler = function(request)
            local answer = table.pack(handler(request))
            if not acted and held(request) then
                acted = true
                return nil
            end
            return table.unpack(answer, 1, answer.n)
        end
        local run = t.start_host { path, "--output", "json", cwd = folder, state = state, env = env }
        t.eventually("the request", function() return acted end, 20)
        run:kill "sigkill"
        run:wait()
        local result = t.host { "resume", "--output", "json", cwd = folder, state = state, env = env }
        service.handler = handler
        return result
    end

    -- What became of a step whose first such request is acted upon, but answered by a proxy that saw no answer.
    function play.lost(service, held, body)
        local handler, acted = service.handler, false
        service.handler = function(request)
            local answer = table.pack(handler(request))
            if not acted and held(request) then
                acted = true
                return 502, "<html><title>Bad gateway</title></html>"
            end
            return table.unpack(answer, 1, answer.n)
        end
        local value, problem = play.step("return " .. body)
        service.handler = handler
        return value, problem
    end

    -- Neither what the run said nor what it left on disk holds the text.
    function play.hides(result, text)
        assert(not (result.out .. result.err):find(text, 1, true), "said: " .. text)
        local found = t.run { "grep", "-rla", text, result.state }
        assert(found.code == 1, "kept: " .. found.out)
    end

    return play
end

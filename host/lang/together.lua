-- Several functions at once, each in a task of its own: what parallel, rt.together and rt.each are made of.
local host = require "lang.host"

--- Waits for all; returns what they return, in their order. The first failure cancels the others and is raised when all have
--- ended: `stop(i, err)` → the error that the others get, for that failure of the i-th; and whether they are cut short at once.
return function(functions, stop)
    local tasks, results, first = {}, {}, nil
    for i, fn in ipairs(functions) do
        tasks[i] = host.task.spawn(function()
            local ok, value = pcall(fn)
            if ok then
                return value
            end
            if not first then
                first = value
                for other, task in ipairs(tasks) do
                    if other ~= i then
                        host.task.cancel(task, stop(i, value))
                    end
                end
            end
            error(value, 0)
        end)
    end
    for i, task in ipairs(tasks) do
        local ok, value = host.task.join(task)
        if ok then
            results[i] = value
        else
            first = first or value
        end
    end
    if first then
        error(first, 0)
    end
    return results
end

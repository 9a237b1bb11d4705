/* The least that sequential GETs cost: one libcurl handle, one connection.
 *      http_floor COUNT URL */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

static size_t swallow(char *bytes, size_t size, size_t count, void *total)
{
    (void)bytes;
    *(size_t *)total += size * count;
    return size * count;
}

int main(int argc, char **argv)
{
    if (argc != 3 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return 2;
    size_t total = 0;
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, argv[2]);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &total);
    for (int i = 0; i < atoi(argv[1]); i++)
        if (curl_easy_perform(curl) != CURLE_OK)
            return 1;
    curl_easy_cleanup(curl);
    return total == 0;
}

/* Stands around the functions that are taken from ESP-IDF's sources: its types, and a chip that writes down what is asked of it.
 *
 * Each line of input is a start: size of the factory app (0: none), number of OTA slots, then sequence, state and CRC of both
 * entries, then a word of + and x: which images are whole. Each line of output: what ran, then each entry that was written.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BOOTLOADER_BUILD 1
#define CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE 1
#define FACTORY_INDEX (-1)
#define TEST_APP_INDEX (-2)
#define INVALID_INDEX (-99)
#define MAX_OTA_SLOTS 16
#define FLASH_SECTOR_SIZE 4096
#define ESP_OK 0
#define ESP_FAIL (-1)
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define ESP_LOGE(...)
#define ESP_LOGW(...)
#define ESP_LOGI(...)
#define ESP_LOGD(...)

typedef int esp_err_t;
typedef struct { uint32_t offset, size; } esp_partition_pos_t;
typedef struct { uint32_t start_addr; } esp_image_metadata_t;
typedef struct { uint32_t ota_seq; uint8_t seq_label[20]; uint32_t ota_state, crc; } esp_ota_select_entry_t;
typedef struct {
    esp_partition_pos_t ota_info, factory, test, ota[MAX_OTA_SLOTS];
    uint32_t app_count, selected_subtype;
} bootloader_state_t;
enum {
    ESP_OTA_IMG_NEW, ESP_OTA_IMG_PENDING_VERIFY, ESP_OTA_IMG_VALID, ESP_OTA_IMG_INVALID, ESP_OTA_IMG_ABORTED,
};

static bool ota_has_initial_contents;
static esp_ota_select_entry_t flash[2];
static char whole[MAX_OTA_SLOTS + 2];
static bootloader_state_t state;
static char log_text[512];
static jmp_buf done;

static uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *data, uint32_t length)
{
    crc = ~crc;
    while (length--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
    }
    return ~crc;
}

static esp_err_t bootloader_common_read_otadata(const esp_partition_pos_t *place, esp_ota_select_entry_t *entries)
{
    (void)place;
    memcpy(entries, flash, sizeof(flash));
    return ESP_OK;
}
#define read_otadata bootloader_common_read_otadata /* its name before ESP-IDF 5.5 */

static bool esp_efuse_is_flash_encryption_enabled(void) { return false; }
#define esp_flash_encryption_enabled esp_efuse_is_flash_encryption_enabled

static esp_err_t bootloader_flash_erase_sector(uint32_t sector) { (void)sector; return ESP_OK; }

static esp_err_t bootloader_flash_write(uint32_t offset, void *data, uint32_t size, bool encrypted)
{
    (void)size;
    (void)encrypted;
    esp_ota_select_entry_t *entry = data;
    uint32_t sector = (offset - state.ota_info.offset) / FLASH_SECTOR_SIZE;
    flash[sector] = *entry;
    sprintf(log_text + strlen(log_text), " %" PRIu32 ":%" PRIu32 ",%" PRIu32 ",%" PRIu32, sector, entry->ota_seq,
            entry->ota_state, entry->crc);
    return ESP_OK;
}

/* Partition n of the input lies at 0x10000 * (n + 1). */
static esp_err_t bootloader_load_image(const esp_partition_pos_t *place, esp_image_metadata_t *data)
{
    data->start_addr = place->offset;
    return whole[place->offset / 0x10000 - 1] == '+' ? ESP_OK : ESP_FAIL;
}

static void load_image(const esp_image_metadata_t *image)
{
    int number = (int)(image->start_addr / 0x10000) - 1 - (state.factory.size ? 1 : 0);
    number < 0 ? printf("factory") : printf("ota_%d", number);
    longjmp(done, 1);
}

static void bootloader_reset(void)
{
    printf("none");
    longjmp(done, 1);
}

static void log_invalid_app_partition(int index) { (void)index; }

/* Here come the functions of ESP-IDF. */

static bool next_row(void)
{
    uint32_t slots, factory;
    esp_ota_select_entry_t *a = &flash[0], *b = &flash[1];
    memset(flash, 0xFF, sizeof(flash));
    memset(&state, 0, sizeof(state));
    log_text[0] = 0;
    int got = scanf("%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %17s",
                    &factory, &slots, &a->ota_seq, &a->ota_state, &a->crc, &b->ota_seq, &b->ota_state, &b->crc, whole);
    uint32_t offset = 0x10000;
    state.ota_info = (esp_partition_pos_t){0xD000, 0x2000};
    if (factory) {
        state.factory = (esp_partition_pos_t){offset, factory};
        offset += 0x10000;
    }
    for (uint32_t slot = 0; slot < slots; slot++, offset += 0x10000) {
        state.ota[slot] = (esp_partition_pos_t){offset, 0x10000};
    }
    state.app_count = slots;
    return got == 9;
}

int main(void)
{
    while (next_row()) {
        if (!setjmp(done)) {
            bootloader_utility_load_boot_image(&state, bootloader_utility_get_selected_boot_partition(&state));
        }
        printf("%s\n", log_text);
    }
    return 0;
}
